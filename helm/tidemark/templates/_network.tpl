{{/* NetworkPolicies: who may reach a component. What has no rule reaches nothing of it. */}}

{{/* (list $ component ...): peers, one for each of the release's components that are named. */}}
{{- define "tidemark.peers" -}}
{{- $root := first . -}}
{{- range rest . }}
- podSelector:
    matchLabels:
      {{- include "tidemark.selector" (list $root .) | nindent 6 }}
{{- end }}
{{- end -}}

{{/* (list $ component rules): its policy; rules is a list of (dict "ports" list "peers" list), or none for nobody. */}}
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
  policyTypes: [Ingress]
  ingress:
    {{- range index . 2 }}
    - from:
        {{- toYaml .peers | nindent 8 }}
      ports:
        {{- range .ports }}
        - port: {{ . }}
          protocol: TCP
        {{- end }}
    {{- else }} []
    {{- end }}
{{- end -}}

{{/* The pods of programs that Airflow starts, and Spark's executors. */}}
{{- define "tidemark.jobPeers" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/part-of: tidemark
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: [job, executor]}
{{- end -}}
