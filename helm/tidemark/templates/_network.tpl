{{/* NetworkPolicies: who may reach a component, and where it may go. What has no rule reaches nothing of it. */}}

{{/* (list $ component ...): peers, one for each of the release's components that are named. */}}
{{- define "tidemark.peers" -}}
{{- $root := first . -}}
{{- range rest . }}
- podSelector:
    matchLabels:
      {{- include "tidemark.selector" (list $root .) | nindent 6 }}
{{- end }}
{{- end -}}

{{/* (list $ component rules): its policy; rules is a list of (dict "ports" list "peers" list), with a "protocol" where it is not TCP, or none for nobody. */}}
{{- define "tidemark.networkPolicy" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "tidemark.metadata" (list $root $component) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "tidemark.selector" (list $root $component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "tidemark.egress" (list $root $component) | nindent 4 }}
  ingress:
    {{- range index . 2 }}
    - from:
        {{- toYaml .peers | nindent 8 }}
      ports:
        {{- $protocol := default "TCP" .protocol }}
        {{- range .ports }}
        - port: {{ . }}
          protocol: {{ $protocol }}
        {{- end }}
    {{- else }} []
    {{- end }}
{{- end -}}

{{/* (list $ component): where its pods may go: servers to each other, the rest to wherever the values let them. */}}
{{- define "tidemark.egress" -}}
{{- $root := first . -}}
{{- $servers := dict "kafka" (list "kafka") "minio" (list "minio") "store" (list) "postgres" (list) "statsd" (list) -}}
{{- $elsewhere := $root.Values.networkPolicy.egressTo -}}
{{- if hasKey $servers (last .) }}
{{- with index $servers (last .) }}
- to:
    {{- include "tidemark.peers" (concat (list $root) .) | nindent 4 }}
{{- end }}
{{- else if $elsewhere }}
- to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/instance: {{ $root.Release.Name }}
    {{- toYaml $elsewhere | nindent 4 }}
{{- else }}
- {}
{{- end }}
- ports:  # names
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* The pods of programs that Airflow starts, and Spark's executors. */}}
{{- define "tidemark.jobPeers" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/part-of: tidemark
      app.kubernetes.io/instance: {{ .Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: [job, executor]}
{{- end -}}
