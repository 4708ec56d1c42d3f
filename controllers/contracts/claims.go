package contracts

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
)

// claimsOf are the claims of one domain, which has these rows as far as its stack ever said. Pure.
func claimsOf(d *v1alpha1.PECDomain, mailboxes []v1alpha1.Mailbox, rows []admin.Mailbox) (claims []contract.Claim) {
	held := make(map[string]*admin.Mailbox, len(rows))
	for i := range rows {
		held[rows[i].Address] = &rows[i]
	}
	for i := range mailboxes {
		m := &mailboxes[i]
		address := m.Address()
		row := held[address]
		if row != nil && Foreign(m, *row) {
			continue
		}
		delete(held, address)
		c := contract.Claim{Address: address, Domain: d.Name, RequestedAt: m.Spec.RequestedAt.Time, Has: Has(m, row)}
		if m.DeletionTimestamp.IsZero() {
			c.Wants = Wanted(m, d, c.Has)
			if c.Wants == nil && (row == nil || row.Access != admin.AccessClosed) {
				c.Wants = c.Has // it stays as it is: what nobody wants counts as closed
			}
		}
		claims = append(claims, c)
	}
	for address, row := range held {
		claims = append(claims, contract.Claim{Address: address, Domain: d.Name, Has: Holding(*row)})
	}
	return claims
}

// Foreign says whether a row is, or was, that of a Mailbox of another namespace. Pure.
func Foreign(m *v1alpha1.Mailbox, row admin.Mailbox) bool {
	return row.Owner.Namespace != "" && row.Owner.Namespace != m.Namespace
}

// Has is what a Mailbox has: what its row holds; where there is none, what its status says that it had. A stack that never answered, or lost
// its volume, or took the domain over, turns nobody out who was provisioned. One that is made anew, or was another provider's, has no such
// status, and its address and domain cannot change. Pure.
func Has(m *v1alpha1.Mailbox, row *admin.Mailbox) *contract.Holding {
	if row != nil {
		return Holding(*row)
	}
	quota, err := resource.ParseQuantity(m.Status.Quota)
	if m.Status.AdmittedAs == "" || err != nil {
		return nil
	}
	return &contract.Holding{Type: contract.Type(m.Status.AdmittedAs), Bytes: quota.Value()}
}

// Holding is what a row holds. A row of a release that knew no contracts was of a Standard mailbox. Pure.
func Holding(row admin.Mailbox) *contract.Holding {
	h := &contract.Holding{Type: contract.Type(row.AdmittedAs), Bytes: row.QuotaBytes}
	if h.Type == "" {
		h.Type = contract.Standard
	}
	return h
}

// Wanted is what a Mailbox asks for in its domain; nil when neither says how much it may hold. Under a legal hold nothing is
// taken away: neither by a default that shrank nor by a first quota of its own, which the schema compares with none. Pure.
func Wanted(m *v1alpha1.Mailbox, d *v1alpha1.PECDomain, has *contract.Holding) *contract.Holding {
	quota := m.QuotaIn(d)
	if quota == nil {
		return nil
	}
	h := &contract.Holding{Type: contract.Type(m.Spec.Type), Bytes: quota.Value()}
	if len(m.Spec.LegalHolds) > 0 && has != nil {
		h.Bytes = max(h.Bytes, has.Bytes)
	}
	return h
}
