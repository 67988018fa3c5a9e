{{/* What Airflow's processes have in common. */}}

{{- define "tidemark.airflowUrl" -}}
http://{{ include "tidemark.name" (list . "api-server") }}.{{ .Release.Namespace }}.svc:8080
{{- end -}}

{{/* Where people open it. */}}
{{- define "tidemark.airflowBaseUrl" -}}
{{- with .Values.airflow.ingress -}}
{{- if .enabled -}}
{{ ternary "https" "http" (ne .tlsSecret "") }}://{{ .host }}
{{- else -}}
http://127.0.0.1:8080
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Airflow's settings that are no secrets, as YAML. */}}
{{- define "tidemark.airflowSettings" -}}
AIRFLOW_HOME: /airflow
AIRFLOW__CORE__DAGS_FOLDER: /opt/tidemark/dags
AIRFLOW__CORE__LOAD_EXAMPLES: "False"
AIRFLOW__CORE__EXECUTOR: {{ .Values.airflow.executor }}
AIRFLOW__CORE__PARALLELISM: {{ .Values.airflow.parallelism | quote }}
AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION: {{ .Values.airflow.pausedAtCreation | quote }}
AIRFLOW__CORE__EXECUTION_API_SERVER_URL: {{ include "tidemark.airflowUrl" . }}/execution/
AIRFLOW__CORE__HOSTNAME_CALLABLE: airflow.utils.net.get_host_ip_address
AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS: admin:admin
AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE: /airflow/passwords.json
AIRFLOW__API__HOST: 0.0.0.0
AIRFLOW__API__PORT: "8080"
AIRFLOW__API__BASE_URL: {{ include "tidemark.airflowBaseUrl" . }}
AIRFLOW__API__WORKERS: "1"
AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES: "1"
AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL: "300"
AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL: "30"
AIRFLOW__LOGGING__BASE_LOG_FOLDER: /airflow/logs
AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK: "True"
AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL: "30"
AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT: "120"
{{- if .Values.monitoring.exporters }}
AIRFLOW__METRICS__STATSD_ON: "True"
AIRFLOW__METRICS__STATSD_HOST: {{ include "tidemark.name" (list . "statsd") }}.{{ .Release.Namespace }}.svc
AIRFLOW__METRICS__STATSD_PORT: "9125"
# DAGs and tasks as labels, not as parts of names.
AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED: "True"
AIRFLOW__METRICS__LEGACY_NAMES_ON: "False"
{{- end }}
{{- if eq .Values.airflow.executor "KubernetesExecutor" }}
AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE: {{ .Release.Namespace }}
AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE: /etc/tidemark/worker/worker.yaml
AIRFLOW__KUBERNETES_EXECUTOR__WORKER_CONTAINER_REPOSITORY: ""
AIRFLOW__KUBERNETES_EXECUTOR__WORKER_CONTAINER_TAG: ""
{{- end }}
TIDEMARK_SCHEDULE: {{ .Values.airflow.schedule | quote }}
{{- with .Values.airflow.scheduleStart }}
TIDEMARK_SCHEDULE_START: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "tidemark.airflowEnvironment" -}}
{{- toYaml (merge (dict) .Values.airflow.env (include "tidemark.airflowSettings" . | fromYaml)) -}}
{{- end -}}

{{/* A container's environment: settings of both, and secrets. */}}
{{- define "tidemark.airflowContainerEnvironment" -}}
{{- $secret := include "tidemark.airflowSecret" . -}}
envFrom:
  - configMapRef:
      name: {{ include "tidemark.fullname" . }}
  - configMapRef:
      name: {{ include "tidemark.name" (list . "airflow") }}
env:
  {{- include "tidemark.secretVariable" (list "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" (include "tidemark.postgresSecret" .) "connection") | nindent 2 }}
  {{- include "tidemark.secretVariable" (list "AIRFLOW__CORE__FERNET_KEY" $secret "fernet-key") | nindent 2 }}
  {{- include "tidemark.secretVariable" (list "AIRFLOW__API_AUTH__JWT_SECRET" $secret "jwt-secret") | nindent 2 }}
  {{- include "tidemark.secretVariable" (list "AIRFLOW__API__SECRET_KEY" $secret "api-secret-key") | nindent 2 }}
  {{- include "tidemark.secretEnvironment" (list . "airflow" "airflow") | nindent 2 }}
  {{- with .Values.airflow.webhookSecret }}
  {{- include "tidemark.secretVariable" (list "TIDEMARK_ALERT_WEBHOOK" . "TIDEMARK_ALERT_WEBHOOK") | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "tidemark.airflowMounts" -}}
{{ include "tidemark.mounts" . }}
- name: airflow
  mountPath: /airflow
- name: jobs
  mountPath: /etc/tidemark/jobs
  readOnly: true
{{- if .Values.airflow.logsClaim }}
- name: logs
  mountPath: /airflow/logs
{{- end }}
{{- if eq .Values.airflow.executor "KubernetesExecutor" }}
- name: worker
  mountPath: /etc/tidemark/worker
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tidemark.airflowVolumes" -}}
{{ include "tidemark.volumes" . }}
- name: airflow
  emptyDir: {}
- name: jobs
  configMap:
    name: {{ include "tidemark.name" (list . "jobs") }}
{{- with .Values.airflow.logsClaim }}
- name: logs
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- if eq .Values.airflow.executor "KubernetesExecutor" }}
- name: worker
  configMap:
    name: {{ include "tidemark.name" (list . "worker") }}
{{- end }}
{{- end -}}

{{/* (list $ component): the pod's labels, and a new pod when what it reads at its start has changed. */}}
{{- define "tidemark.airflowPodMetadata" -}}
{{- $root := first . -}}
labels:
  {{- include "tidemark.labels" . | nindent 2 }}
annotations:
  {{- include "tidemark.checksum" $root | nindent 2 }}
  checksum/airflow: {{ include "tidemark.airflowEnvironment" $root | sha256sum }}
{{- end -}}

{{/* It starts once the migrate job has brought the database to its version. */}}
{{- define "tidemark.awaitMigration" -}}
- name: await-migration
  {{- include "tidemark.container" (list . "airflow") | nindent 2 }}
  command: [airflow, db, check-migrations, --migration-wait-timeout, "900"]
  {{- include "tidemark.airflowContainerEnvironment" . | nindent 2 }}
  resources:
    {{- toYaml .Values.airflow.worker.resources | nindent 4 }}
  volumeMounts:
    {{- include "tidemark.airflowMounts" . | nindent 4 }}
{{- end -}}

{{/* Whether the API server has its database: it answers 200 without, and says so in the document. */}}
{{- define "tidemark.airflowHealthy" -}}
import json, urllib.request
told = json.load(urllib.request.urlopen("http://127.0.0.1:8080/api/v2/monitor/health"))
assert told["metadatabase"]["status"] == "healthy", told
{{- end -}}

{{/* job type: whether this pod's process has told the database lately that it works. */}}
{{- define "tidemark.heartbeatProbes" -}}
startupProbe:
  exec: {command: [airflow, jobs, check, --job-type, {{ . }}, --local]}
  periodSeconds: 20
  timeoutSeconds: 60
  failureThreshold: 30
livenessProbe:
  exec: {command: [airflow, jobs, check, --job-type, {{ . }}, --local]}
  periodSeconds: 120
  timeoutSeconds: 60
  failureThreshold: 3
{{- end -}}
