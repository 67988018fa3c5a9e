{{/* Secrets: where they are, and how a generated one is kept. */}}

{{/* (list $ secret key generated): what the cluster's Secret holds under the key, or else what was generated, encoded. */}}
{{- define "tidemark.kept" -}}
{{- $root := index . 0 -}}
{{- $secret := lookup "v1" "Secret" $root.Release.Namespace (index . 1) -}}
{{- $known := index (default dict (default dict $secret).data) (index . 2) -}}
{{- default (index . 3 | b64enc) $known -}}
{{- end -}}

{{- define "tidemark.minioSecret" -}}
{{- default (include "tidemark.name" (list . "minio")) .Values.minio.existingSecret -}}
{{- end -}}

{{- define "tidemark.storeSecret" -}}
{{- default (include "tidemark.name" (list . "store")) .Values.store.existingSecret -}}
{{- end -}}

{{- define "tidemark.postgresSecret" -}}
{{- default (include "tidemark.name" (list . "postgres")) .Values.postgres.existingSecret -}}
{{- end -}}

{{- define "tidemark.airflowSecret" -}}
{{- default (include "tidemark.name" (list . "airflow")) .Values.airflow.existingSecret -}}
{{- end -}}

{{/* (list $ identity): the Secret with the lake's keys of lander, speed, serve, airflow or jobs. */}}
{{- define "tidemark.lakeSecret" -}}
{{- $root := first . -}}
{{- $own := index $root.Values.s3.existingSecrets (last .) -}}
{{- coalesce $own $root.Values.s3.existingSecret (include "tidemark.name" (list $root (printf "s3-%s" (last .)))) -}}
{{- end -}}

{{/* The identities for which this release makes keys of its MinIO's. */}}
{{- define "tidemark.identities" -}}
{{- $made := list -}}
{{- if and .Values.minio.enabled (not .Values.s3.existingSecret) -}}
{{- range list "airflow" "jobs" "lander" "serve" "speed" -}}
{{- if not (index $.Values.s3.existingSecrets .) -}}{{- $made = append $made . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}
