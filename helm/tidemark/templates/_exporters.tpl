{{/* Exporters: each tells Prometheus, on port 9102, of the server that it stands beside. */}}

{{/* Its port, in a container. */}}
{{- define "tidemark.exporterPort" -}}
- name: exporter
  containerPort: 9102
{{- end -}}

{{/* The label by which Prometheus' Service finds the pod. */}}
{{- define "tidemark.exporterLabel" -}}
{{- if .Values.monitoring.exporters }}
tidemark/exporter: "true"
{{- end }}
{{- end -}}

{{/* The rule of a policy that lets Prometheus in, as a JSON list; empty without exporters. */}}
{{- define "tidemark.exporterRules" -}}
{{- $rule := dict "ports" (list 9102) "peers" .Values.networkPolicy.monitoringFrom -}}
{{- toJson (.Values.monitoring.exporters | ternary (list $rule) list) -}}
{{- end -}}

{{/* (list $ command environment): a container beside a server. It is never asked whether it is ready: the server serves without it. */}}
{{- define "tidemark.exporter" -}}
{{- $root := index . 0 -}}
- name: exporter
  {{- include "tidemark.container" (list $root "exporters") | nindent 2 }}
  command: {{ toJson (index . 1) }}
  env:
    {{- index . 2 | nindent 4 }}
  ports:
    {{- include "tidemark.exporterPort" $root | nindent 4 }}
  livenessProbe:
    httpGet: {path: /, port: exporter}
    initialDelaySeconds: 10
    periodSeconds: 30
    timeoutSeconds: 10
    failureThreshold: 6
  resources:
    {{- toYaml $root.Values.monitoring.resources | nindent 4 }}
{{- end -}}

{{/* It knocks at its own pod, where nobody else can listen: so there is no name that the certificate could have. */}}
{{- define "tidemark.storeExporterEnvironment" -}}
- name: REDIS_ADDR
  value: {{ .Values.tls.enabled | ternary "rediss" "redis" }}://127.0.0.1:6379
{{- if .Values.tls.enabled }}
- name: REDIS_EXPORTER_SKIP_TLS_VERIFICATION
  value: "true"
{{- end }}
- name: REDIS_EXPORTER_WEB_LISTEN_ADDRESS
  value: ":9102"
{{ include "tidemark.secretVariable" (list "REDIS_PASSWORD" (include "tidemark.storeSecret" .) "password") }}
{{- end -}}

{{- define "tidemark.postgresExporterEnvironment" -}}
- name: DATA_SOURCE_URI
  value: 127.0.0.1:5432/airflow?sslmode=disable
- name: DATA_SOURCE_USER
  value: airflow
- name: DATA_SOURCE_PASS_FILE
  value: /etc/postgres-secret/password
- name: PG_EXPORTER_WEB_LISTEN_ADDRESS
  value: ":9102"
{{- end -}}
