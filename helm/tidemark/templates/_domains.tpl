{{/* Domains: the shipped files, those of the values, and which of them run. */}}

{{/* name: text, of every domain file, as JSON. */}}
{{- define "tidemark.domainFiles" -}}
{{- $files := dict -}}
{{- range $path, $_ := .Files.Glob "domains/*.yaml" -}}
{{- $_ := set $files (base $path | trimSuffix ".yaml") ($.Files.Get $path) -}}
{{- end -}}
{{- toJson (merge (dict) .Values.domains.files $files) -}}
{{- end -}}

{{/* The options that name the domains: a JSON list. */}}
{{- define "tidemark.domainOptions" -}}
{{- $options := list -}}
{{- range .Values.domains.run -}}{{- $options = concat $options (list "--domain" .) -}}{{- end -}}
{{- toJson $options -}}
{{- end -}}

{{/* Those that run and are fed by others, as a JSON list. */}}
{{- define "tidemark.routed" -}}
{{- $files := include "tidemark.domainFiles" . | fromJson -}}
{{- $routed := list -}}
{{- range .Values.domains.run -}}
{{- if (index $files . | default "" | fromYaml).sources -}}{{- $routed = append $routed . -}}{{- end -}}
{{- end -}}
{{- toJson $routed -}}
{{- end -}}
