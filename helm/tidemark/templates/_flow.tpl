{{/* Lander, speed layer, router, canary, producer, dashboard: programs of the app's image. */}}

{{/* (list $ identity user): the container that waits until there is what the program reads: servers, topics, declared domains. */}}
{{- define "tidemark.awaitProvision" -}}
{{- $root := first . -}}
- name: await-provision
  {{- include "tidemark.container" (list $root "app") | nindent 2 }}
  command: [python, -m, local.await_provision, "--wait-seconds", {{ $root.Values.provision.waitSeconds | quote }}]
  args: {{ include "tidemark.domainOptions" $root }}
  {{- include "tidemark.envFrom" $root | nindent 2 }}
  env:
    {{- include "tidemark.secretEnvironment" . | nindent 4 }}
  resources:
    {{- toYaml $root.Values.provision.resources | nindent 4 }}
  volumeMounts:
    {{- include "tidemark.mounts" $root | nindent 4 }}
{{- end -}}

{{/* The variables of a process that serves metrics, and its port. */}}
{{- define "tidemark.metricsEnvironment" -}}
- name: TIDEMARK_METRICS_PORT
  value: "9100"
- name: TIDEMARK_METRICS_HOST
  value: 0.0.0.0
{{- end -}}

{{/* Its metrics are read while it lives; a server that is away makes them slow, never fail. */}}
{{- define "tidemark.metricsProbes" -}}
startupProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 30
  timeoutSeconds: 10
livenessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 30
  timeoutSeconds: 20
  failureThreshold: 6
{{- end -}}

{{/* (list $ component identity command options): the pod of such a program, its options as a JSON list; the component is Kafka's user, too. */}}
{{- define "tidemark.flowPod" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
metadata:
  labels:
    {{- include "tidemark.labels" (list $root $component) | nindent 4 }}
    tidemark/metrics: "true"
  annotations:
    {{- include "tidemark.checksum" $root | nindent 4 }}
spec:
  automountServiceAccountToken: false
  {{- include "tidemark.podSpec" (list $root $component) | nindent 2 }}
  terminationGracePeriodSeconds: 60
  initContainers:
    {{- include "tidemark.awaitProvision" (list $root (index . 2) $component) | nindent 4 }}
  containers:
    - name: {{ $component }}
      {{- include "tidemark.container" (list $root "app") | nindent 6 }}
      command: {{ toJson (index . 3) }}
      args: {{ index . 4 }}
      {{- include "tidemark.envFrom" $root | nindent 6 }}
      env:
        {{- if eq $component "lander" }}
        - name: POD_INDEX
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
        {{- end }}
        {{- include "tidemark.metricsEnvironment" $root | nindent 8 }}
        {{- include "tidemark.secretEnvironment" (list $root (index . 2) $component) | nindent 8 }}
      ports:
        - name: metrics
          containerPort: 9100
      {{- include "tidemark.metricsProbes" $root | nindent 6 }}
      resources:
        {{- toYaml (index $root.Values $component).resources | nindent 8 }}
      volumeMounts:
        {{- include "tidemark.mounts" $root | nindent 8 }}
  volumes:
    {{- include "tidemark.volumes" $root | nindent 4 }}
{{- end -}}

{{/* (list $ component): at most one of its pods is away by intent. */}}
{{- define "tidemark.disruption" -}}
{{- $root := first . -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "tidemark.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "tidemark.selector" . | nindent 6 }}
{{- end -}}
