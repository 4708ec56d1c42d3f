package v1alpha1

// ReconcileRequestedAnnotation asks the operator for a pass over the object now, whatever its pauses. The value is any text, like
// the time; status.lastHandledReconcileAt repeats it once that pass is over.
const ReconcileRequestedAnnotation = "pec-operator.dev/reconcile-requested-at"

// GetLastHandledReconcileAt returns the request that the last pass answered.
func (d *PECDomain) GetLastHandledReconcileAt() string { return d.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt records the request that a pass has answered.
func (d *PECDomain) SetLastHandledReconcileAt(v string) { d.Status.LastHandledReconcileAt = v }

// GetLastHandledReconcileAt returns the request that the last pass answered.
func (m *Mailbox) GetLastHandledReconcileAt() string { return m.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt records the request that a pass has answered.
func (m *Mailbox) SetLastHandledReconcileAt(v string) { m.Status.LastHandledReconcileAt = v }

// GetLastHandledReconcileAt returns the request that the last pass answered.
func (m *MailboxMigration) GetLastHandledReconcileAt() string { return m.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt records the request that a pass has answered.
func (m *MailboxMigration) SetLastHandledReconcileAt(v string) { m.Status.LastHandledReconcileAt = v }

// GetLastHandledReconcileAt returns the request that the last pass answered.
func (p *RetentionPolicy) GetLastHandledReconcileAt() string { return p.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt records the request that a pass has answered.
func (p *RetentionPolicy) SetLastHandledReconcileAt(v string) { p.Status.LastHandledReconcileAt = v }
