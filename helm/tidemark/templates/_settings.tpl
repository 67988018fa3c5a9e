{{/* What the processes read as TIDEMARK_*; every name is a field of lake/settings.py. */}}

{{- define "tidemark.kafkaBootstrap" -}}
{{- if .Values.kafka.enabled -}}
{{ include "tidemark.name" (list . "kafka") }}.{{ .Release.Namespace }}.svc:9092
{{- else -}}
{{ .Values.kafka.external.bootstrap }}
{{- end -}}
{{- end -}}

{{- define "tidemark.kafkaProtocol" -}}
{{- if .Values.kafka.enabled -}}
{{ ternary "SASL_SSL" "PLAINTEXT" .Values.tls.enabled }}
{{- else -}}
{{ .Values.kafka.external.securityProtocol }}
{{- end -}}
{{- end -}}

{{- define "tidemark.s3Endpoint" -}}
{{- if .Values.minio.enabled -}}
{{ ternary "https" "http" .Values.tls.enabled }}://{{ include "tidemark.name" (list . "minio") }}.{{ .Release.Namespace }}.svc:9000
{{- else -}}
{{ .Values.s3.external.endpoint }}
{{- end -}}
{{- end -}}

{{/* Where people open the dashboard. */}}
{{- define "tidemark.dashboardUrl" -}}
{{- $ingress := .Values.dashboard.ingress -}}
{{- if .Values.dashboard.url -}}
{{ .Values.dashboard.url }}
{{- else if $ingress.enabled -}}
{{ ternary "https" "http" (ne $ingress.tlsSecret "") }}://{{ $ingress.host }}
{{- end -}}
{{- end -}}

{{/* Fields and their values, as YAML. */}}
{{- define "tidemark.settings" -}}
home: /tmp/tidemark
domains_dir: /etc/tidemark/domains
domains: {{ join "," .Values.domains.run | quote }}
kafka_bootstrap: {{ include "tidemark.kafkaBootstrap" . }}
kafka_security_protocol: {{ include "tidemark.kafkaProtocol" . }}
kafka_sasl_mechanism: {{ ternary "SCRAM-SHA-512" .Values.kafka.external.saslMechanism .Values.kafka.enabled }}
{{- if include "tidemark.caSecrets" . | fromJsonArray }}
ca_file: /etc/tidemark/ca
{{- end }}
kafka_retention_hours: {{ .Values.kafka.retentionHours }}
replication_factor: {{ .Values.kafka.replicationFactor }}
s3_endpoint: {{ include "tidemark.s3Endpoint" . }}
s3_region: {{ .Values.s3.region | quote }}
s3_path_style: {{ .Values.s3.pathStyle }}
bucket: {{ .Values.s3.bucket }}
prism_binary: /opt/tidemark/bin/prism
spark_jars_dir: /opt/tidemark/jars
spark_driver_memory: {{ .Values.jobs.driverHeap }}
dashboard_url: {{ include "tidemark.dashboardUrl" . | quote }}
submit: kubernetes
kubernetes_image: {{ include "tidemark.image" (list . "app") }}
kubernetes_namespace: {{ .Release.Namespace }}
kubernetes_service_account: {{ include "tidemark.name" (list . "jobs") }}
kubernetes_config_map: {{ include "tidemark.fullname" . }}
kubernetes_secret: {{ include "tidemark.lakeSecret" (list . "jobs") }}
kubernetes_jars_dir: /opt/tidemark/jars
kubernetes_cpu: {{ .Values.jobs.cpu | quote }}
kubernetes_memory: {{ .Values.jobs.memory }}
kubernetes_pod_template: /etc/tidemark/jobs/driver.yaml
spark_executors: {{ .Values.jobs.spark.executors }}
spark_executor_cores: {{ .Values.jobs.spark.cores }}
spark_executor_cpu: {{ .Values.jobs.spark.cpu | quote }}
spark_executor_memory: {{ .Values.jobs.spark.memory }}
spark_executor_overhead: {{ .Values.jobs.spark.overhead }}
spark_executor_template: /etc/tidemark/jobs/executor.yaml
{{- end -}}

{{/* Those of the values beside those that the chart decides: the environment, as YAML. */}}
{{- define "tidemark.environment" -}}
{{- $all := merge (include "tidemark.settings" . | fromYaml) .Values.settings -}}
{{- range $name, $value := $all }}
TIDEMARK_{{ upper $name }}: {{ include "tidemark.plain" $value | quote }}
{{- end }}
{{- end -}}
