package mailbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// pageAge is how old the contract's page may be that a request is decided by.
	pageAge = time.Second
	// pageAgeAgain is how old it may be when the first page has not seen the request.
	pageAgeAgain = 200 * time.Millisecond
	// heldRecheck is how often a held mailbox is looked at again. The watch on its contract's domain comes first.
	heldRecheck = 10 * time.Minute
)

// readRow reads what the stack holds of the address. A row of another namespace is another body's mail.
func readRow(ctx context.Context, s *scope) (reconcile.Result, error) {
	has, err := s.directory.Mailbox(ctx, s.mailbox.Address())
	s.has = has
	if err := s.afterReading(err); err != nil {
		return reconcile.Result{}, err
	}
	if has.There && contracts.Foreign(s.mailbox, has.Mailbox) {
		return reconcile.Result{}, reconcile.Stalled(v1alpha1.ConditionProvisioned, v1alpha1.ReasonAddressTaken, fmt.Sprintf(
			"%s is, or was, a mailbox of namespace %s, whose mail is kept and is not shown to another body; create the Mailbox there, or choose another local part",
			has.Mailbox.Address, has.Mailbox.Owner.Namespace))
	}
	return reconcile.Result{}, nil
}

// admit asks the domain's contract for what the spec wants and the stack does not hold yet. A mailbox that is there and wants
// more keeps what it has while that is held; one whose row was lost gets back what it had, whatever its contract has become since.
func admit(ctx context.Context, s *scope) (reconcile.Result, error) {
	pool, limited := refs.Pool(s.domain)
	var row *admin.Mailbox
	if s.has.There { // one that was lost says no more where it was counted, and whom the domain names now may never have lent to it
		row, s.countedIn = &s.has.Mailbox, s.has.Mailbox.AdmittedIn
	}
	has := contracts.Has(s.mailbox, row)
	wants := contracts.Wanted(s.mailbox, s.domain, has)
	if wants == nil {
		return reconcile.Result{}, s.withoutQuota(ctx, has)
	}
	s.granted = *wants
	switch {
	case !limited:
		return reconcile.Result{}, s.withoutContract(ctx, has)
	case has != nil && has.Type == wants.Type && wants.Bytes <= has.Bytes:
		return reconcile.Result{}, s.counted(ctx)
	case s.isAway():
		return reconcile.Result{}, s.directoryWaits(s.away)
	case !takesMailboxes(s.domain): // its contract is not counted now; what else was changed is carried out
		s.granted = kept(*has, *wants)
		said, _ := reconcile.Verdict(s.domainWaits())
		s.stays(*has, said.Reason, said.Message)
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	page, err := s.page(ctx, *wants)
	if err != nil {
		return reconcile.Result{}, err
	}
	if page.Unusable == "" {
		s.countedIn = refs.Key(pool)
	}
	reason, message := verdict(page, s.mailbox.Address())
	switch {
	case reason == v1alpha1.ReasonStackRecalling && has == nil:
		return reconcile.Result{}, reconcile.Waiting(soon, v1alpha1.ConditionAdmitted, reason, message)
	case reason == v1alpha1.ReasonWithinContract:
		s.True(v1alpha1.ConditionAdmitted, reason, message)
	case has == nil:
		s.mailbox.Status.AdmittedAs, s.mailbox.Status.Quota = "", ""
		return reconcile.Result{}, reconcile.Held(heldRecheck, v1alpha1.ConditionAdmitted, reason, message)
	default:
		s.granted = kept(*has, *wants)
		s.stays(*has, reason, message)
		if reason == v1alpha1.ReasonStackRecalling {
			return reconcile.Result{RequeueAfter: recheck}, nil
		}
	}
	return reconcile.Result{}, nil
}

// withoutContract admits a mailbox whose domain has none. A new one waits for what the other site tells a stack that was built anew: its address
// may be another body's, whose mail is there.
func (s *scope) withoutContract(ctx context.Context, has *contract.Holding) error {
	s.countedIn = ""
	if has == nil {
		recall, err := s.Book.Recall(ctx, refs.Host(s.domain))
		if err != nil {
			return err
		}
		if recall.Awaited {
			return reconcile.Waiting(soon, v1alpha1.ConditionAdmitted, v1alpha1.ReasonStackRecalling, recalls(refs.Host(s.domain).Name, "no new mailbox is made"))
		}
	}
	s.True(v1alpha1.ConditionAdmitted, v1alpha1.ReasonNoContract, "PECDomain "+s.domain.Name+" has no contract: every mailbox is admitted")
	return nil
}

// withoutQuota judges a mailbox of which nobody says how much it may hold. One that is there keeps what it has, and what else its spec says is
// carried out: whoever is to be out must be out.
func (s *scope) withoutQuota(ctx context.Context, has *contract.Holding) error {
	message := fmt.Sprintf("neither this mailbox nor PECDomain %s says how much it may hold; give quota here, or mailboxDefaults.quota there", s.domain.Name)
	if has == nil {
		return reconcile.Stalled(v1alpha1.ConditionAdmitted, v1alpha1.ReasonQuotaNotGiven, message)
	}
	s.granted = *has
	if _, limited := refs.Pool(s.domain); limited {
		if _, _, err := s.count(ctx); err != nil {
			return err
		}
	}
	s.stays(*has, v1alpha1.ReasonQuotaNotGiven, message)
	return nil
}

// stays says that a mailbox which is there is not admitted as it is wanted, and keeps what it has.
func (s *scope) stays(has contract.Holding, reason, message string) {
	s.False(v1alpha1.ConditionAdmitted, reason, fmt.Sprintf("%s; until then the mailbox stays as it is: %s, %s", message, has.Type, contract.Size(has.Bytes)))
}

// errNotYet ends a pass of which nothing is written: what it needs is there in a moment, be it the requests that come together with this
// one, a first look, the first word of an engine, or the row that took the place of the one that was read.
var errNotYet = errors.New("not all that the pass needs is there")

// page is the contract's page, with what this mailbox wants on it, and with the requests that come together with that.
func (s *scope) page(ctx context.Context, wants contract.Holding) (*contracts.Page, error) {
	for _, age := range []time.Duration{pageAge, pageAgeAgain} {
		page, err := s.Book.Page(ctx, s.domain, age)
		if err != nil {
			return nil, err
		}
		if page.Unusable != "" {
			return page, nil
		}
		if d, there := page.Decisions[s.mailbox.Address()]; there && d.Wants == wants {
			return s.settledPage(ctx, page)
		}
	}
	s.comeBack = pageAgeAgain
	return nil, errNotYet
}

// settledPage is a page on which the request is decided, or the time until there may be one.
func (s *scope) settledPage(ctx context.Context, page *contracts.Page) (*contracts.Page, error) {
	at := page.Settled(s.mailbox.Address())
	if !page.Read().Before(at) {
		return page, nil
	}
	if late := s.Now.Sub(at); late >= 0 { // it was read too early
		again, err := s.Book.Page(ctx, s.domain, late)
		if err != nil {
			return nil, err
		}
		if at = again.Settled(s.mailbox.Address()); !again.Read().Before(at) {
			return again, nil
		}
	}
	s.comeBack = max(at.Sub(s.Now), time.Millisecond)
	return nil, errNotYet
}

// verdict is the reason of Admitted, and its message, for an address on a contract's page. Pure.
func verdict(p *contracts.Page, address string) (reason, message string) {
	d := p.Decisions[address]
	switch {
	case p.Unusable != "":
		return v1alpha1.ReasonPoolUnusable, p.Unusable
	case p.Diverged:
		return v1alpha1.ReasonSpecsDiffer, "the sites hold different specs of the domain that contract " + p.Contract.Reference +
			" is of: nothing is admitted that the other site might not admit; have both clusters follow the same Git revision"
	case p.Recalling != "" && d.Limit == "":
		return v1alpha1.ReasonStackRecalling, recalls(p.Recalling, "nothing is admitted under contract "+p.Contract.Reference)
	case d.Admitted:
		return v1alpha1.ReasonWithinContract, counts(p.Contract.Reference)
	case d.Limit == contract.Validity:
		reason = v1alpha1.ReasonContractEnded
	case d.Limit == contract.Grant:
		reason = v1alpha1.ReasonMassiveNotGranted
	default:
		reason = v1alpha1.ReasonHeldByContract
	}
	return reason, p.Held(p.Contract, address)
}

// recalls is what is not done, and for how long, while a stack does not know what it was.
func recalls(stack, not string) string {
	return fmt.Sprintf("the stack of %s was built anew and does not know yet which mailboxes were closed: %s before the other site has told it, or has been silent for long; see whether the peer link works",
		stack, not)
}

func counts(reference string) string { return "contract " + reference + " covers the mailbox" }

// counted says of a mailbox that is there that its contract counts it: what is provisioned stays, whatever becomes of that. A contract that
// the domain may not draw on does not count it.
func (s *scope) counted(ctx context.Context) error {
	pool, unusable, err := s.count(ctx)
	switch {
	case err != nil:
		return err
	case unusable != "":
		s.True(v1alpha1.ConditionAdmitted, v1alpha1.ReasonWithinContract, "the mailbox was admitted and stays, though "+unusable)
		return nil
	}
	s.True(v1alpha1.ConditionAdmitted, v1alpha1.ReasonWithinContract, counts(pool.Spec.Contract.Reference))
	return nil
}

// count notes the pool that counts a mailbox which is there. Where the domain's is unusable for it, what its row said stays.
func (s *scope) count(ctx context.Context) (pool *v1alpha1.PECDomain, unusable string, err error) {
	pool, unusable, err = contracts.Pool(ctx, s.Client, s.domain)
	if err == nil && unusable == "" {
		s.countedIn = refs.Key(client.ObjectKeyFromObject(pool))
	}
	return pool, unusable, err
}

// kept is what a mailbox has while what it wants is held; a quota that shrinks needs nobody's leave. Pure.
func kept(has, wants contract.Holding) contract.Holding {
	has.Bytes = min(has.Bytes, wants.Bytes)
	return has
}
