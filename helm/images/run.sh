#!/bin/sh
# The app's entry point: `executor` is how Spark starts the executors that a driver has asked for; anything else is run.
# Source of the variables: Spark's own entry point, resource-managers/kubernetes/docker.
set -eu
[ "${1:-}" = executor ] || exec "$@"
spark=$(python -c 'import importlib.util as util, pathlib; print(pathlib.Path(util.find_spec("pyspark").origin).parent)')
cd /tmp
set --
if [ -n "${TIDEMARK_CA_FILE:-}" ]; then
  trust=$(python -m jobs.trust_store "$TIDEMARK_CA_FILE" /tmp/trust.p12)
  set -- $trust # none of these options has a space
fi
count=0
# Variables rather than a list: an option may have spaces.
while eval "[ -n \"\${SPARK_JAVA_OPT_$count+set}\" ]"; do
  eval "set -- \"\$@\" \"\$SPARK_JAVA_OPT_$count\""
  count=$((count + 1))
done
exec java "$@" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
  -cp "${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}$spark/jars/*" \
  org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
  --driver-url "$SPARK_DRIVER_URL" \
  --executor-id "$SPARK_EXECUTOR_ID" \
  --cores "$SPARK_EXECUTOR_CORES" \
  --app-id "$SPARK_APPLICATION_ID" \
  --hostname "$SPARK_EXECUTOR_POD_IP" \
  --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
  --podName "$SPARK_EXECUTOR_POD_NAME"
