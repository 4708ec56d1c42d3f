{{- define "pec-operator.labels" -}}
app.kubernetes.io/name: pec-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "pec-operator.subjects" -}}
- {kind: ServiceAccount, name: pec-operator, namespace: {{ .Release.Namespace }}}
{{- end }}
