package v1alpha1

// NotInForce are the fields of the spec that this release stores and does not act on, as far as they are used.
func (d *PECDomain) NotInForce() []string {
	u := fields{}
	if n := d.Spec.DNS; n != nil {
		u.add("dns.externalDNS", n.ExternalDNS != nil)
		u.add("dns.onDelete", n.OnDelete == DNSRemoveIfOurs)
		u.add("dns.extra.dkim", n.Extra != nil && n.Extra.DKIM == RecordVerify)
	}
	return u
}

// NotInForce are the fields of the spec that this release stores and does not act on, as far as they are used.
func (m *Mailbox) NotInForce() []string {
	return nil
}

// NotInForce are the fields of the spec that this release stores and does not act on, as far as they are used.
func (p *RetentionPolicy) NotInForce() []string {
	u := fields{}
	u.add("offload", p.Spec.Offload != nil)
	u.add("remove", p.Spec.Remove != nil)
	u.add("logs", p.Spec.Logs != nil)
	u.add("infected", p.Spec.Infected != nil)
	u.add("custody", p.Spec.Custody != nil)
	return u
}

// NotInForce are the fields of the spec that this release stores and does not act on, as far as they are used.
func (m *MailboxMigration) NotInForce() []string {
	u := fields{}
	for _, p := range m.Spec.Calendar.Phases {
		u.add("calendar.phases[name=Destroy]", p.Name == PhaseDestroy)
	}
	return u
}

// fields are paths in a spec.
type fields []string

func (f *fields) add(path string, used bool) {
	if used {
		*f = append(*f, path)
	}
}
