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

{{/* What each of the lake's identities may write, as JSON; all may read all of it. */}}
{{- define "tidemark.lakeRights" -}}
{{- dict "airflow" list "jobs" (list "*") "lander" (list "raw/*") "router" (list "routes/*") "serve" (list "verifications/*") "speed" list | toJson -}}
{{- end -}}

{{/* (list $ identity): the Secret with the keys of one of them. */}}
{{- define "tidemark.lakeSecret" -}}
{{- $root := first . -}}
{{- $own := index $root.Values.s3.existingSecrets (last .) -}}
{{- coalesce $own $root.Values.s3.existingSecret (include "tidemark.name" (list $root (printf "s3-%s" (last .)))) -}}
{{- end -}}

{{/* The Secret with the servers' certificate and key, and with ca.crt, which vouches for them. */}}
{{- define "tidemark.tlsSecret" -}}
{{- default (include "tidemark.name" (list . "tls")) .Values.tls.existingSecret -}}
{{- end -}}

{{/* The Secrets whose ca.crt clients believe, a JSON list; none: they believe the system's certificates. */}}
{{- define "tidemark.caSecrets" -}}
{{- $own := .Values.tls.enabled | ternary (list (include "tidemark.tlsSecret" .)) list -}}
{{- concat $own (.Values.tls.caSecret | empty | ternary list (list .Values.tls.caSecret)) | toJson -}}
{{- end -}}

{{/* The common name of the servers' certificate: whoever has it is a broker, or provisions. */}}
{{- define "tidemark.serversName" -}}
{{- default (include "tidemark.fullname" .) .Values.tls.commonName -}}
{{- end -}}

{{/* What each of Kafka's users may do with the topics of the domains that run, as JSON. */}}
{{- define "tidemark.kafkaRights" -}}
{{- $read := list "read" -}}
{{- $write := list "write" -}}
{{- $both := list "read" "write" -}}
{{- dict "airflow" $both "canary" $write "jobs" $both "lander" $read "producer" $write "router" $both "serve" $read "speed" $read | toJson -}}
{{- end -}}

{{/* (list $ user): the Secret with the name and password of one of them. */}}
{{- define "tidemark.kafkaSecret" -}}
{{- $root := first . -}}
{{- $own := index $root.Values.kafka.existingSecrets (last .) -}}
{{- coalesce $own $root.Values.kafka.existingSecret (include "tidemark.name" (list $root (printf "kafka-%s" (last .)))) -}}
{{- end -}}

{{/* Whether this release's own brokers want users. */}}
{{- define "tidemark.kafkaHasUsers" -}}
{{- if and .Values.kafka.enabled .Values.tls.enabled }}true{{ end -}}
{{- end -}}

{{/* Secrets that the values name: a JSON list of {value, name, keys}. */}}
{{- define "tidemark.givenSecrets" -}}
{{- $v := .Values -}}
{{- $s3 := list "TIDEMARK_S3_ACCESS_KEY" "TIDEMARK_S3_SECRET_KEY" -}}
{{- $kafka := list "TIDEMARK_KAFKA_USERNAME" "TIDEMARK_KAFKA_PASSWORD" -}}
{{- $server := list "password" -}}
{{- $all := list
  (dict "value" "s3.existingSecret" "name" $v.s3.existingSecret "keys" $s3)
  (dict "value" "kafka.existingSecret" "name" $v.kafka.existingSecret "keys" $kafka)
  (dict "value" "minio.existingSecret" "name" $v.minio.existingSecret "keys" (list "MINIO_ROOT_USER" "MINIO_ROOT_PASSWORD"))
  (dict "value" "store.existingSecret" "name" $v.store.existingSecret "keys" (concat ($v.store.enabled | ternary $server list) (list "TIDEMARK_STORE_URL")))
  (dict "value" "postgres.existingSecret" "name" $v.postgres.existingSecret "keys" (concat ($v.postgres.enabled | ternary $server list) (list "connection")))
  (dict "value" "airflow.existingSecret" "name" $v.airflow.existingSecret "keys" (list "fernet-key" "jwt-secret" "api-secret-key" "admin-password" "passwords.json"))
  (dict "value" "airflow.webhookSecret" "name" $v.airflow.webhookSecret "keys" (list "TIDEMARK_ALERT_WEBHOOK"))
  (dict "value" "tls.existingSecret" "name" $v.tls.existingSecret "keys" (list "tls.crt" "tls.key" "ca.crt"))
  (dict "value" "tls.caSecret" "name" $v.tls.caSecret "keys" (list "ca.crt"))
-}}
{{- range $identity, $name := $v.s3.existingSecrets -}}
{{- $all = append $all (dict "value" (printf "s3.existingSecrets.%s" $identity) "name" $name "keys" $s3) -}}
{{- end -}}
{{- range $user, $name := $v.kafka.existingSecrets -}}
{{- $all = append $all (dict "value" (printf "kafka.existingSecrets.%s" $user) "name" $name "keys" $kafka) -}}
{{- end -}}
{{- $given := list -}}
{{- range $all -}}{{- if .name -}}{{- $given = append $given . -}}{{- end -}}{{- end -}}
{{- toJson $given -}}
{{- end -}}

{{/* Secrets that are generated and outlive the release: their names, as a JSON list. */}}
{{- define "tidemark.keptSecrets" -}}
{{- $v := .Values -}}
{{- $ours := dict
  "airflow" (not $v.airflow.existingSecret)
  "minio" (and $v.minio.enabled (not $v.minio.existingSecret))
  "postgres" (and $v.postgres.enabled (not $v.postgres.existingSecret))
  "tls" (and $v.tls.enabled (not $v.tls.existingSecret))
-}}
{{- range $identity, $_ := include "tidemark.lakeRights" . | fromJson -}}
{{- $given := or $v.s3.existingSecret (index $v.s3.existingSecrets $identity) -}}
{{- $_ := set $ours (printf "s3-%s" $identity) (and $v.minio.enabled (not $given)) -}}
{{- end -}}
{{- range $user, $_ := include "tidemark.kafkaRights" . | fromJson -}}
{{- $given := or $v.kafka.existingSecret (index $v.kafka.existingSecrets $user) -}}
{{- $_ := set $ours (printf "kafka-%s" $user) (and (include "tidemark.kafkaHasUsers" $) (not $given)) -}}
{{- end -}}
{{- $names := list -}}
{{- range $component, $is := $ours -}}
{{- if $is -}}{{- $names = append $names (include "tidemark.name" (list $ $component)) -}}{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
