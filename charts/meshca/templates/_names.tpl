{{- /* Names and labels that every object shares. */ -}}
{{- define "meshca.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "meshca.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "meshca.name" .) -}}
{{- end -}}

{{- define "meshca.selector" -}}
app.kubernetes.io/name: meshca
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "meshca.labels" -}}
{{ include "meshca.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "meshca.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* What meshca.yaml says: the chart's own part, with .Values.config merged over it. */ -}}
{{- define "meshca.config" -}}
{{- $service := include "meshca.name" . -}}
{{- $names := list (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.cluster.local" $service .Release.Namespace) "localhost" "127.0.0.1" -}}
{{- range $path := list "upstream" "admission" "policies.dir" "data_dir" "trust_domain" "listen.http" "kubernetes.namespace" "kubernetes.lease" "kubernetes.trusted_node_accounts" "kubernetes.remote_clusters.enabled" "kubernetes.root_config_map.enabled" "kubernetes.root_config_map.name" "kubernetes.root_config_map.key" "kubernetes.root_config_map.namespaces" "kubernetes.cluster_trust_bundle" "kubernetes.istiod_certificate.enabled" "kubernetes.istiod_certificate.secret" "kubernetes.istiod_certificate.namespace" "kubernetes.istiod_certificate.names" -}}
{{- $place := $.Values.config -}}
{{- range $key := splitList "." $path -}}
{{- $place = ternary (get (ternary $place dict (kindIs "map" $place)) $key) "" (kindIs "map" $place) -}}
{{- end -}}
{{- if not (or (kindIs "invalid" $place) (eq (toString $place) "")) -}}
{{- fail (printf "config.%s has a value of the chart, which the rights and mounts follow: set that instead" $path) -}}
{{- end -}}
{{- end -}}
{{- $upstream := dict "kind" "secret" "create" .Values.upstream.create "rotate" .Values.upstream.rotate "names" .Values.upstream.names -}}
{{- if eq .Values.upstream.kind "files" -}}
{{- $upstream = dict "kind" "files" "dir" "/etc/meshca-ca" -}}
{{- end -}}
{{- $kubernetes := dict
  "namespace" .Release.Namespace
  "trusted_node_accounts" .Values.trustedNodeAccounts
  "remote_clusters" .Values.remoteClusters
  "root_config_map" .Values.rootConfigMap
  "cluster_trust_bundle" .Values.clusterTrustBundle
  "istiod_certificate" .Values.istiodCertificate
  "lease" (printf "%s-leader" $service)
-}}
{{- $own := dict
  "trust_domain" .Values.trustDomain
  "data_dir" "/var/lib/meshca/data"
  "listen" (dict "http" "0.0.0.0:15014")
  "serving" (dict "names" (concat $names .Values.servingNames | uniq))
  "upstream" $upstream
  "kubernetes" $kubernetes
-}}
{{- if .Values.admissionRules -}}
{{- $_ := set $own "admission" (dict "file" "/etc/meshca/rules.yaml") -}}
{{- end -}}
{{- if .Values.policies -}}
{{- $_ := set $own "policies" (dict "dir" "/etc/meshca-policies") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.config)) -}}
{{- end -}}
