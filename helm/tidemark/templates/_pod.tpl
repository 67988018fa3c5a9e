{{/* What pods have in common. All pass the restricted pod security standard. */}}

{{- define "tidemark.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.security.uid }}
runAsGroup: {{ .Values.security.uid }}
fsGroup: {{ .Values.security.uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tidemark.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* (list $ component): the part of a pod's spec that says how and where it runs; no pod has a token unless it says so. */}}
{{- define "tidemark.podSpec" -}}
{{- $root := first . -}}
{{- $s := $root.Values.scheduling -}}
securityContext:
  {{- include "tidemark.podSecurity" $root | nindent 2 }}
enableServiceLinks: false
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $s.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $s.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $s.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  {{- $must := has (last .) (list "kafka" "minio") | ternary $s.serversOverHosts "ScheduleAnyway" }}
  {{- range $key, $unsatisfiable := dict "kubernetes.io/hostname" $must "topology.kubernetes.io/zone" "ScheduleAnyway" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $unsatisfiable }}
    nodeTaintsPolicy: Honor
    labelSelector:
      matchLabels:
        {{- include "tidemark.selector" (list $root (last $)) | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* (list $ image): a container's image and security. */}}
{{- define "tidemark.container" -}}
{{- $root := first . -}}
image: {{ include "tidemark.image" . }}
imagePullPolicy: {{ $root.Values.images.pullPolicy }}
securityContext:
  {{- include "tidemark.containerSecurity" $root | nindent 2 }}
{{- end -}}

{{/* (list variable secret key): a variable out of a Secret. */}}
{{- define "tidemark.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* (list $ identity user): the variables of a Tidemark process that are secrets: of the lake's identity, of Kafka's user. No identity: no lake. */}}
{{- define "tidemark.secretEnvironment" -}}
{{- $root := index . 0 -}}
{{- with index . 2 }}{{ include "tidemark.kafkaEnvironment" (list $root .) }}{{ end }}
{{- with index . 1 }}
{{- $secret := include "tidemark.lakeSecret" (list $root .) }}
{{ include "tidemark.secretVariable" (list "TIDEMARK_S3_ACCESS_KEY" $secret "TIDEMARK_S3_ACCESS_KEY") }}
{{ include "tidemark.secretVariable" (list "TIDEMARK_S3_SECRET_KEY" $secret "TIDEMARK_S3_SECRET_KEY") }}
{{ include "tidemark.secretVariable" (list "TIDEMARK_STORE_URL" (include "tidemark.storeSecret" $root) "TIDEMARK_STORE_URL") }}
{{- end }}
{{- end -}}

{{/* (list $ user): who asks the brokers, where they ask for a name. */}}
{{- define "tidemark.kafkaEnvironment" -}}
{{- $root := first . -}}
{{- if hasPrefix "SASL" (include "tidemark.kafkaProtocol" $root) }}
{{- $secret := include "tidemark.kafkaSecret" . }}
{{ include "tidemark.secretVariable" (list "TIDEMARK_KAFKA_USERNAME" $secret "TIDEMARK_KAFKA_USERNAME") }}
{{ include "tidemark.secretVariable" (list "TIDEMARK_KAFKA_PASSWORD" $secret "TIDEMARK_KAFKA_PASSWORD") }}
{{- end }}
{{- end -}}

{{/* Settings that are no secrets, for a container that mounts the domains. */}}
{{- define "tidemark.envFrom" -}}
envFrom:
  - configMapRef:
      name: {{ include "tidemark.fullname" . }}
{{- end -}}

{{/* The mounts of a Tidemark process, and the volumes they are of. */}}
{{- define "tidemark.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: domains
  mountPath: /etc/tidemark/domains
  readOnly: true
{{- include "tidemark.caMount" . }}
{{- end -}}

{{/* The certificates that a process believes, where it does not believe the system's. */}}
{{- define "tidemark.caMount" -}}
{{- if include "tidemark.caSecrets" . | fromJsonArray }}
- name: ca
  mountPath: /etc/tidemark/ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tidemark.caVolume" -}}
{{- with include "tidemark.caSecrets" . | fromJsonArray }}
- name: ca
  projected:
    sources:
      {{- range $number, $secret := . }}
      - secret:
          name: {{ $secret }}
          items: [{key: ca.crt, path: {{ $number }}.crt}]
      {{- end }}
{{- end }}
{{- end -}}

{{- define "tidemark.volumes" -}}
- name: tmp
  emptyDir: {}
- name: domains
  configMap:
    name: {{ include "tidemark.name" (list . "domains") }}
{{- include "tidemark.caVolume" . }}
{{- end -}}

{{/* A pod is made anew when what it reads at its start has changed. */}}
{{- define "tidemark.checksum" -}}
checksum/settings: {{ include "tidemark.environment" . | sha256sum }}
checksum/domains: {{ include "tidemark.domainFiles" . | sha256sum }}
{{- end -}}

{{/* storage: the claim `data` of each pod of a StatefulSet. */}}
{{- define "tidemark.claim" -}}
- metadata:
    name: data
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .className }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .size }}
{{- end -}}
