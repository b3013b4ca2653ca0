{{- define "cortexops.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cortexops.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "cortexops.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cortexops.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "cortexops.partitions" -}}
{{- dig "nats" "partitions" 8 .Values.settings -}}
{{- end -}}

{{/* What each role is: the port it serves on, its cluster identity, and the secrets that it uses. */}}
{{- define "cortexops.roles" -}}
gateway: {port: 8080, identity: investigator, secrets: [natsUrl, gatewayToken]}
correlator: {port: 9464, identity: investigator, secrets: [natsUrl, postgresDsn, temporalApiKey]}
orchestrator: {port: 9464, identity: "", secrets: [postgresDsn, temporalApiKey, opaToken, slackBotToken, slackSigningSecret, pagerdutyRoutingKey]}
investigator: {port: 9464, identity: investigator, secrets: [postgresDsn, temporalApiKey, qdrantApiKey, modelApiKey]}
remediator: {port: 9464, identity: remediator, secrets: [postgresDsn, temporalApiKey]}
console: {port: 8090, identity: "", secrets: [postgresDsn, temporalApiKey, slackBotToken, slackSigningSecret, slackAppToken, pagerdutyRoutingKey]}
{{- end -}}

{{/* The variable that each secret becomes. */}}
{{- define "cortexops.variables" -}}
postgresDsn: CORTEXOPS_POSTGRES__DSN
natsUrl: CORTEXOPS_NATS__URL
gatewayToken: CORTEXOPS_GATEWAY__TOKEN
metricsToken: CORTEXOPS_WORKER__METRICS_TOKEN
opaToken: CORTEXOPS_POLICY__OPA_TOKEN
qdrantApiKey: CORTEXOPS_MEMORY__API_KEY
modelApiKey: CORTEXOPS_MODEL__API_KEY
temporalApiKey: CORTEXOPS_TEMPORAL__API_KEY
slackBotToken: CORTEXOPS_SLACK__BOT_TOKEN
slackSigningSecret: CORTEXOPS_SLACK__SIGNING_SECRET
slackAppToken: CORTEXOPS_SLACK__APP_TOKEN
pagerdutyRoutingKey: CORTEXOPS_PAGERDUTY__ROUTING_KEY
{{- end -}}

{{/* The volume of the audit trail's archives, once it is clear that nothing gets lost on it. */}}
{{- define "cortexops.archiveVolume" -}}
{{- $archive := .Values.auditArchive -}}
{{- if le (int (dig "audit" "retention_days" 0 .Values.settings)) 0 -}}
{{- fail "auditArchive.enabled: settings.audit.retention_days has to say after how many days rows are archived" -}}
{{- end -}}
{{- if or (hasKey $archive.volume "emptyDir") (hasKey $archive.volume "ephemeral") -}}
{{- fail "auditArchive.volume: archives would be lost with their pod, and they are nowhere else" -}}
{{- end -}}
{{- if and $archive.existingClaim $archive.volume -}}
{{- fail "auditArchive: existingClaim or volume, not both" -}}
{{- end -}}
{{- if $archive.existingClaim -}}
persistentVolumeClaim: {claimName: {{ $archive.existingClaim }}}
{{- else if $archive.volume -}}
{{ toYaml $archive.volume }}
{{- else -}}
{{- if and (gt (int .Values.roles.orchestrator.replicas) 1) (not (has "ReadWriteMany" $archive.claim.accessModes)) -}}
{{- fail "auditArchive.claim.accessModes: more than one orchestrator needs ReadWriteMany" -}}
{{- end -}}
persistentVolumeClaim: {claimName: {{ include "cortexops.fullname" . }}-audit-archive}
{{- end -}}
{{- end -}}

{{- define "cortexops.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "cortexops.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
