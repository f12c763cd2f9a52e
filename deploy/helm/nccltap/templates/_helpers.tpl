{{- define "nccltap.name" -}}
{{- if contains "nccltap" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-nccltap" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "nccltap.selectorLabels" -}}
app.kubernetes.io/name: nccltap
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nccltap.labels" -}}
{{ include "nccltap.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "nccltap.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Where the collector listens, as NCCLTAP_COLLECTOR of the engines has to say it. */}}
{{- define "nccltap.collector" -}}
unix:{{ .Values.sharedMemory.mountPath }}/nccltap-{{ .Values.runAs.user }}/collector.sock
{{- end }}
