{{/* Templates of the pods that others make: programs and Spark's drivers by Airflow, executors by drivers. */}}

{{/* A program's pod. Airflow gives a driver a token; the container is called as Airflow's operator calls it. */}}
{{- define "tidemark.driverTemplate" -}}
apiVersion: v1
kind: Pod
metadata:
  labels:
    {{- include "tidemark.labels" (list . "job") | nindent 4 }}
spec:
  automountServiceAccountToken: false
  {{- include "tidemark.podSpec" (list . "job") | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: base
      {{- include "tidemark.container" (list . "app") | nindent 6 }}
      env:
        {{- include "tidemark.kafkaEnvironment" (list . "jobs") | nindent 8 }}
        {{- include "tidemark.secretVariable" (list "TIDEMARK_STORE_URL" (include "tidemark.storeSecret" .) "TIDEMARK_STORE_URL") | nindent 8 }}
      volumeMounts:
        {{- include "tidemark.mounts" . | nindent 8 }}
        - name: jobs
          mountPath: /etc/tidemark/jobs
          readOnly: true
  volumes:
    {{- include "tidemark.volumes" . | nindent 4 }}
    - name: jobs
      configMap:
        name: {{ include "tidemark.name" (list . "jobs") }}
{{- end -}}

{{/* An executor; Spark adds a scratch volume, resources and its own variables. */}}
{{- define "tidemark.executorTemplate" -}}
apiVersion: v1
kind: Pod
metadata:
  labels:
    {{- include "tidemark.labels" (list . "executor") | nindent 4 }}
spec:
  automountServiceAccountToken: false
  {{- include "tidemark.podSpec" (list . "executor") | nindent 2 }}
  containers:
    - name: executor
      {{- include "tidemark.container" (list . "app") | nindent 6 }}
      {{- if include "tidemark.caSecrets" . | fromJsonArray }}
      env:
        - name: TIDEMARK_CA_FILE
          value: /etc/tidemark/ca
      {{- end }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- include "tidemark.caMount" . | nindent 8 }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- include "tidemark.caVolume" . | nindent 4 }}
{{- end -}}
