"""The schedules: DAGs that name programs of other folders and run them in processes of their own."""
