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

{{- /* Whether each replica keeps its key below Vault in a Secret of its own; not empty then. */ -}}
{{- define "meshca.ownSecrets" -}}
{{- if and (eq .Values.upstream.kind "vault") (eq .Values.upstream.vault.custody "secret") -}}yes{{- end -}}
{{- end -}}

{{- /* What follows the pods: a StatefulSet, whose pods keep their names, where Secrets or keys are named after them. */ -}}
{{- define "meshca.workload" -}}
{{- ternary "StatefulSet" "Deployment" (and (eq .Values.upstream.kind "vault") (has .Values.upstream.vault.custody (list "secret" "pkcs11"))) -}}
{{- end -}}

{{- /* What a container may: nothing. */ -}}
{{- define "meshca.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The section `upstream` for Vault. */ -}}
{{- define "meshca.vault" -}}
{{- $vault := .Values.upstream.vault -}}
{{- if not $vault.address -}}
{{- fail "upstream.vault.address is needed for upstream.kind: vault, such as https://vault.example.org:8200" -}}
{{- end -}}
{{- if not $vault.roots.configMap -}}
{{- fail "upstream.vault.roots.configMap is needed for upstream.kind: vault: it names the roots that are trusted" -}}
{{- end -}}
{{- $own := dict
  "kind" "vault"
  "address" $vault.address
  "mount" $vault.mount
  "issuer" $vault.issuer
  "login" (dict "kubernetes" (dict "role" $vault.role "mount" $vault.loginMount "token_file" "/var/run/secrets/vault/token"))
  "roots" (dict "file" (printf "/etc/meshca-vault-roots/%s" $vault.roots.key))
  "custody" $vault.custody
-}}
{{- if $vault.ca.configMap -}}
{{- $_ := set $own "ca_file" (printf "/etc/meshca-vault-ca/%s" $vault.ca.key) -}}
{{- end -}}
{{- range $key := append (keys $own) "custody_secret" -}}
{{- if hasKey $vault.config $key -}}
{{- fail (printf "upstream.vault.config.%s is a value of the chart, which the rights and mounts follow: set that instead" $key) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $vault.custody "pkcs11") (not $vault.config.custody_token) -}}
{{- fail "upstream.vault.config.custody_token is needed for upstream.vault.custody: pkcs11: module, token and pin_file" -}}
{{- end -}}
{{- if dig "custody_token" "key_label" "" $vault.config -}}
{{- fail "upstream.vault.config.custody_token.key_label is not for the chart: replicas with one label destroy each other's keys; left out it is named after the pod" -}}
{{- end -}}
{{- toYaml (merge $own $vault.config) -}}
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
{{- if eq .Values.upstream.kind "vault" -}}
{{- $upstream = include "meshca.vault" . | fromYaml -}}
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
