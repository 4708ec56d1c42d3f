package pecdomain

import (
	"context"
	"fmt"
	"math"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// honourContract shows how the domain's contract stands. It never ends a pass: mail flows whatever was signed. What it writes
// wakes the mailboxes that the contract holds.
func honourContract(ctx context.Context, s *scope) (reconcile.Result, error) {
	s.domain.Status.Contract = nil
	if s.domain.Spec.Contract == nil {
		return reconcile.Result{}, nil
	}
	age := later // a domain that draws on another's is one of many
	if s.domain.Spec.Contract.From == nil {
		age = gather
	}
	page, err := s.Book.Page(ctx, s.domain, age)
	if err != nil {
		return reconcile.Result{}, err
	}
	c, status := judgeContract(s.domain, page)
	s.domain.Status.Contract = status
	s.Say(c.Type, c.Status, c.Reason, c.Message)
	return reconcile.Result{RequeueAfter: later}, nil
}

// judgeContract is ContractHonoured and the contract's status of a domain, given the page of its contract. Pure.
func judgeContract(d *v1alpha1.PECDomain, p *contracts.Page) (metav1.Condition, *v1alpha1.ContractStatus) {
	c := metav1.Condition{Type: v1alpha1.ConditionContractHonoured, Status: metav1.ConditionFalse}
	if p.Unusable != "" {
		c.Reason, c.Message = v1alpha1.ReasonPoolUnusable, p.Unusable
		return c, nil
	}
	tally, terms, whose := p.Total, p.Contract.Terms, "contract "+p.Contract.Reference
	if d.Spec.Contract.From != nil {
		tally, terms, whose = contract.Tally{}, p.Contract.Parts[d.Name], "the part of "+d.Name+" in "+whose
		if own := p.Domains[d.Name]; own != nil {
			tally = *own
		}
	}
	status := &v1alpha1.ContractStatus{Reference: p.Contract.Reference, Used: use(tally), Held: count(tally.Held)}
	for _, l := range tally.Over(terms) {
		status.Over = append(status.Over, v1alpha1.ContractLimit(l))
	}
	switch {
	case p.Contract.Ended:
		c.Reason = v1alpha1.ReasonContractEnded
		c.Message = "contract " + p.Contract.Reference + " has ended: nothing more is admitted, what is there stays; renew it and set contract.validUntil of the domain that it is of"
	case len(status.Over) > 0:
		c.Reason, c.Message = v1alpha1.ReasonOverContract, whose+" is exceeded: "+words(tally, terms)+"; nobody is turned out and nothing that draws on that is admitted: extend the contract, or agree with the holders whose mailboxes end"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonWithinContract, "no more is provisioned than "+whose+" allows"
	}
	return c, status
}

// words are the limits that are exceeded, with their figures.
func words(t contract.Tally, terms contract.Terms) string {
	var out []string
	for _, l := range t.Over(terms) {
		switch l {
		case contract.StandardMailboxes:
			out = append(out, fmt.Sprintf("%d Standard mailboxes of %d", t.Standard, *terms.Standard))
		case contract.MassiveMailboxes:
			out = append(out, fmt.Sprintf("%d Massive mailboxes of %d", t.Massive, *terms.Massive))
		case contract.Storage:
			out = append(out, contract.Size(t.Bytes)+" of "+contract.Size(*terms.Bytes))
		}
	}
	return strings.Join(out, ", ")
}

func use(t contract.Tally) v1alpha1.ContractUse {
	return v1alpha1.ContractUse{Standard: count(t.Standard), Massive: count(t.Massive), Closed: count(t.Closed), StorageGiB: count((t.Bytes + contract.GiB - 1) / contract.GiB)}
}

func count(n int64) *int32 { return ptr.To(int32(min(n, math.MaxInt32))) }
