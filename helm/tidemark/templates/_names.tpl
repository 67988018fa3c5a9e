{{/* Names, labels, images. */}}

{{- define "tidemark.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name := contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{- default $name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* (list $ component): the name of a component's objects. */}}
{{- define "tidemark.name" -}}
{{- $root := first . -}}
{{- printf "%s-%s" (include "tidemark.fullname" $root) (last . | kebabcase) -}}
{{- end -}}

{{/* (list $ component): what selects the component's pods, and never changes. */}}
{{- define "tidemark.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . | kebabcase }}
{{- end -}}

{{- define "tidemark.labels" -}}
{{- $root := first . -}}
{{ include "tidemark.selector" . }}
app.kubernetes.io/part-of: tidemark
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* (list $ component): an object's name, namespace and labels. */}}
{{- define "tidemark.metadata" -}}
{{- $root := first . -}}
name: {{ include "tidemark.name" . }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "tidemark.labels" . | nindent 2 }}
{{- end -}}

{{/* (list $ component pod): a Job's name. It cannot be changed, so there is another one for each revision, and for each
pod, since tools that render without asking the cluster call every revision the first. */}}
{{- define "tidemark.jobName" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%d-%s" (include "tidemark.name" (list $root (index . 1))) (int $root.Release.Revision) (index . 2 | sha256sum | trunc 6) -}}
{{- end -}}

{{/* (list $ name): an image with its tag or digest. */}}
{{- define "tidemark.image" -}}
{{- $root := first . -}}
{{- $image := index $root.Values.images (last .) -}}
{{- $place := printf "%s/%s" $root.Values.images.registry $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $place $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $place (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A whole number as it was written: a large one would be 1e+06. */}}
{{- define "tidemark.plain" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
