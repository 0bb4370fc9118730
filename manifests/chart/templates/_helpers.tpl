{{/* The name of all objects. It is a Service's, too, which takes less than a release: a label of DNS with a letter first. */}}
{{- define "lanekeeper.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}{{- $name = printf "%s-%s" $name .Chart.Name -}}{{- end -}}
{{- $name = $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- if or (gt (len $name) 48) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "%q cannot be the name of a Service: give another one as fullnameOverride, of at most 48 small letters, digits and dashes, with a letter first" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The labels by which the pods are known. They are those of manifests/base, because a Deployment's selector never changes: the
chart can take over what was applied from there. */}}
{{- define "lanekeeper.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
{{- end -}}

{{- define "lanekeeper.labels" -}}
{{ include "lanekeeper.selectorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* The Secret with the certificate of the modes certManager and secret. */}}
{{- define "lanekeeper.tlsSecret" -}}
{{- $made := printf "%s-tls" (include "lanekeeper.fullname" .) -}}
{{- if eq .Values.certificates.mode "secret" -}}
{{- .Values.certificates.secret.name | default $made -}}
{{- else -}}
{{- $made -}}
{{- end -}}
{{- end -}}

{{- define "lanekeeper.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The arguments of the server: what is as the server has it by itself is not given. */}}
{{- define "lanekeeper.args" -}}
{{- $name := include "lanekeeper.fullname" . -}}
{{- $args := list "serve" -}}
{{- if eq .Values.certificates.mode "selfMade" -}}
{{- $args = append $args (printf "--ca-secret=%s-ca" $name) -}}
{{- with .Values.certificates.selfMade.authorityLife -}}{{- $args = append $args (printf "--ca-life=%s" .) -}}{{- end -}}
{{- with .Values.certificates.selfMade.certificateLife -}}{{- $args = append $args (printf "--leaf-life=%s" .) -}}{{- end -}}
{{- if ne $name "lanekeeper" -}}
{{- $args = concat $args (list (printf "--service=%s" $name) (printf "--webhooks=%s" $name)) -}}
{{- end -}}
{{- else -}}
{{- $args = append $args "--tls-cert-dir=/etc/lanekeeper/tls" -}}
{{- end -}}
{{- if .Values.clientCA.secretName -}}{{- $args = append $args "--client-ca=/etc/lanekeeper/client-ca/ca.crt" -}}{{- end -}}
{{- if ne .Values.istio.rootNamespace "istio-system" -}}{{- $args = append $args (printf "--root-namespace=%s" .Values.istio.rootNamespace) -}}{{- end -}}
{{- with .Values.clusterDomain -}}{{- $args = append $args (printf "--cluster-domain=%s" .) -}}{{- end -}}
{{- if .Values.configuration -}}{{- $args = append $args "--config=/etc/lanekeeper/config/lanekeeper.yaml" -}}{{- end -}}
{{- with .Values.auditLog -}}
{{- if .file -}}
{{- $args = append $args (printf "--audit-log=/var/log/lanekeeper/%s" .file) -}}
{{- with .maxSize -}}{{- $args = append $args (printf "--audit-log-max-size=%s" .) -}}{{- end -}}
{{- if ne .keep nil -}}{{- $args = append $args (printf "--audit-log-keep=%d" (int .keep)) -}}{{- end -}}
{{- end -}}
{{- if .required -}}{{- $args = append $args "--audit-log-required" -}}{{- end -}}
{{- end -}}
{{- with .Values.setAppliers -}}{{- $args = append $args (printf "--set-appliers=%s" (join "," .)) -}}{{- end -}}
{{- with .Values.scalers -}}{{- $args = append $args (printf "--scalers=%s" (join "," .)) -}}{{- end -}}
{{- if .Values.multiCluster -}}{{- $args = append $args "--multi-cluster" -}}{{- end -}}
{{- if .Values.onlyReviews -}}{{- $args = concat $args (list "--no-audit" "--no-status") -}}
{{- else if ne (int .Values.auditInterval) 600 -}}{{- $args = append $args (printf "--audit-interval=%d" (int .Values.auditInterval)) -}}{{- end -}}
{{- if ne (int .Values.shutdownDelay) 5 -}}{{- $args = append $args (printf "--shutdown-delay=%d" (int .Values.shutdownDelay)) -}}{{- end -}}
{{- toYaml $args -}}
{{- end -}}

{{/* A webhook configuration of manifests/base under this release's names, namespace, policies and timeout. Its file
is in files/ as it is there (`make generate`), so that there is one list of what the webhooks are asked about. */}}
{{- define "lanekeeper.webhooks" -}}
{{- $name := include "lanekeeper.fullname" .root -}}
{{- $values := .root.Values -}}
{{- $object := .root.Files.Get .file | fromYaml -}}
{{- $_ := set $object.metadata "name" $name -}}
{{- $_ := set $object.metadata "labels" (include "lanekeeper.labels" .root | fromYaml) -}}
{{- if eq $values.certificates.mode "certManager" -}}
{{- $_ := set $object.metadata "annotations" (dict "cert-manager.io/inject-ca-from" (printf "%s/%s" .root.Release.Namespace $name)) -}}
{{- end -}}
{{- range $webhook := $object.webhooks -}}
{{- $service := $webhook.clientConfig.service -}}
{{- $_ := set $service "name" $name -}}
{{- $_ := set $service "namespace" $.root.Release.Namespace -}}
{{- if and (eq $values.certificates.mode "secret") $values.certificates.secret.caBundle -}}
{{- $_ := set $webhook.clientConfig "caBundle" (b64enc $values.certificates.secret.caBundle) -}}
{{- end -}}
{{- with $values.webhooks.matchExpressions -}}
{{- $_ := set $webhook.namespaceSelector "matchExpressions" (concat $webhook.namespaceSelector.matchExpressions .) -}}
{{- end -}}
{{- range $expression := $webhook.namespaceSelector.matchExpressions -}}
{{- if eq $expression.key "kubernetes.io/metadata.name" -}}
{{- $_ := set $expression "values" (list "kube-system" $.root.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- if eq $webhook.failurePolicy "Fail" -}}
{{- $_ := set $webhook "failurePolicy" (get $values.webhooks.failurePolicy (base $service.path)) -}}
{{- end -}}
{{- $_ := set $webhook "timeoutSeconds" (int $values.webhooks.timeoutSeconds) -}}
{{- end -}}
{{- toYaml $object -}}
{{- end -}}
