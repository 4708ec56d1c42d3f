package pecdomain

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// whereabouts is everything that the decision rests on whether a stack delivers a domain's mail itself. A stack that did so for whoever is
// in its directory would keep the mail of its other domains from a provider that the mailboxes are still at, or are at again.
type whereabouts struct {
	held admin.Domain // as the engine holds it
	// receipts says that it is the mail domain of the stack's own provider.
	receipts bool
	// ignored says that who owns the stack answers for the records (mode Ignore).
	ignored bool
	// here is what this site knows of the records; nil before its first look.
	here *outlook
	// there is the state that the other site says, "" where it says none of the same spec.
	there dns.State
	// agreed says that the other site, where there is one, sees the same records now.
	agreed bool
	// lasting is for how long another provider's MX must have stood before it is believed.
	lasting time.Duration
}

// isHere says that a state's MX set has hosts of this stack and no other.
func isHere(s dns.State) bool { return s == dns.Ours || s == dns.Drifted }

// sure says that the last look found what holds.
func (w whereabouts) sure() bool {
	return w.here != nil && !w.here.settled.Unknown && w.here.verdict.State == w.here.settled.State
}

// decide says what the engine should hold. It begins on what one site verified, because what comes in meanwhile only waits; it ends when
// another provider's MX has stood for long, with both sites looking; and what is not known changes nothing. Pure.
func (w whereabouts) decide() admin.Domain {
	d := w.held
	switch {
	case w.receipts, w.ignored:
		d.Local = true
	case w.sure() && isHere(w.here.settled.State):
		d.Local, d.MX = true, w.here.verdict.Seen.MX.Hash()
	case w.sure() && d.Local:
		d.Local = !w.goneForGood()
	case !w.sure() && isHere(w.there):
		d.Local = true
	}
	return d
}

// goneForGood says that the domain's MX went to another provider and stays there. A set that has not changed since it named this stack is no such
// thing: then it is the names of the mail hosts in the spec that changed, and who runs the zone has not followed yet.
func (w whereabouts) goneForGood() bool {
	seen := w.here.verdict.Seen.MX
	return w.here.verdict.Elsewhere(w.here.want) && seen.Hash() != w.held.MX && w.agreed &&
		w.here.departure.set == seen.Hash() && w.here.now.Sub(w.here.departure.since) >= w.lasting
}

// departure is an MX set of which no host is this stack's, and since when it stands. The state says less: it is the same of two such sets.
type departure struct {
	set   string
	since time.Time
}

// after takes one more round into account. Pure.
func (d departure) after(v dns.Verdict, want dns.Desired, now time.Time) departure {
	switch set := v.Seen.MX.Hash(); {
	case !v.State.Definite(), v.Elsewhere(want) && set == d.set:
		return d
	case v.Elsewhere(want):
		return departure{set, now}
	default:
		return departure{}
	}
}

// whereabouts gathers it for the domain of this pass.
func (s *scope) whereabouts(held admin.Domain, receipts string) whereabouts {
	w := whereabouts{held: held, receipts: held.Name == receipts, ignored: s.ignored, here: s.outlook, lasting: s.DNS.Interval}
	if s.outlook != nil {
		w.agreed = s.agreed(*s.outlook)
	}
	if s.peer != nil && s.peer.Status.DNS != nil && specHash(s.peer) == specHash(s.domain) {
		w.there = dns.State(s.peer.Status.DNS.State)
	}
	return w
}

// receiptsOf is the mail domain of the provider that a domain's own stack speaks for; "" when it has no stack. Pure.
func receiptsOf(d *v1alpha1.PECDomain) string {
	if d.Spec.Provider.Managed == nil {
		return ""
	}
	return d.Spec.Provider.Managed.Provider.MailDomain
}

// ignores says whether nothing is asked about a domain's records. A guest that says so would have any domain's mail for itself: it counts
// where its host says the same. Pure.
func ignores(d *v1alpha1.PECDomain) bool { return d.DNSMode() == v1alpha1.DNSIgnore }

// held is a domain as the stack holds it.
func (s *scope) held(name string) (d admin.Domain, there bool) {
	if i := s.heldAt(name); i >= 0 {
		return s.heldDomains[i], true
	}
	return admin.Domain{Name: name}, false
}

func (s *scope) heldAt(name string) int {
	return slices.IndexFunc(s.heldDomains, func(d admin.Domain) bool { return d.Name == name })
}

// hold makes the stack hold a domain so.
func (s *scope) hold(ctx context.Context, d admin.Domain) error {
	if err := s.engine.PutDomain(ctx, d); err != nil {
		return s.directoryWaits(err)
	}
	if i := s.heldAt(d.Name); i >= 0 {
		s.heldDomains[i] = d
	} else {
		s.heldDomains = append(s.heldDomains, d)
	}
	return nil
}

// placeDomain makes the stack hold the domain, and deliver its mail once its MX names the stack.
func placeDomain(ctx context.Context, s *scope) (reconcile.Result, error) {
	held, there := s.held(s.domain.Name)
	want := s.whereabouts(held, s.receipts).decide()
	if !there || want != held {
		if err := s.hold(ctx, want); err != nil {
			return reconcile.Result{}, err
		}
		logf.FromContext(ctx).Info("domain placed", "local", want.Local)
	}
	if s.outlook != nil {
		s.DNS.memory(client.ObjectKeyFromObject(s.domain)).mailWaits = !want.Local
	}
	if !want.Local {
		s.True(v1alpha1.ConditionDirectoryInSync, v1alpha1.ReasonDomainNotLocal,
			"the stack's directory holds the domain and its mailboxes; mail for them goes where the domain's MX says, and none is sent from them, until it names this stack")
		return reconcile.Result{}, nil
	}
	s.True(v1alpha1.ConditionDirectoryInSync, v1alpha1.ReasonDomainPlaced, "the stack's directory holds the domain")
	return reconcile.Result{}, nil
}

// leaveStack has the stack end what is over of a domain that it serves no more: it begins nothing. The guest that is told to go leaves with its
// MX, and its neighbours' mail to it is not to end in the mailboxes that stay behind.
func leaveStack(ctx context.Context, s *scope) (reconcile.Result, error) {
	held, there := s.held(s.domain.Name)
	want := s.whereabouts(held, s.receipts).decide()
	if !there || !held.Local || want == held {
		return reconcile.Result{}, nil
	}
	if err := s.hold(ctx, want); err != nil {
		return reconcile.Result{}, err
	}
	logf.FromContext(ctx).Info("domain of a guest that is not served any more", "local", want.Local)
	return reconcile.Result{}, nil
}

// letGo has the stack deliver no more the mail of domains that are elsewhere now by a PECDomain of their name: at another provider, or on
// another stack. Their rows are closed after that, in closeRows. That none is there says nothing while a mailbox is open; without one nobody
// looks at the domain's MX any more, and where that leads elsewhere its neighbours would be told that its living addresses do not exist.
func letGo(ctx context.Context, s *scope) (reconcile.Result, error) {
	s.elsewhere = map[string]string{}
	for _, held := range s.heldDomains {
		if held.Name == s.domain.Name || held.Name == s.receipts {
			continue
		}
		claimant, err := refs.Claimant(ctx, s.Client, held.Name)
		if err != nil {
			return reconcile.Result{}, err
		}
		var isOver bool
		if claimant == nil {
			isOver, err = s.isAbandoned(ctx, held)
		} else if isOver, err = s.hasMovedTo(ctx, claimant, held); isOver {
			s.elsewhere[held.Name] = claimant.Namespace
		}
		if err != nil {
			return reconcile.Result{}, err
		}
		if !isOver || !held.Local {
			continue
		}
		held.Local = false
		if err := s.hold(ctx, held); err != nil {
			return reconcile.Result{}, err
		}
		logf.FromContext(ctx).Info("domain let go, it is elsewhere now or nobody's", "domain", held.Name, "elsewhere", claimant != nil)
	}
	return reconcile.Result{}, nil
}

// isAbandoned says whether a local domain that the cache knows no PECDomain of has none by the API server's own word, nor an open mailbox.
func (s *scope) isAbandoned(ctx context.Context, held admin.Domain) (bool, error) {
	if !held.Local {
		return false, nil
	}
	rows, err := s.directory().Rows(ctx, held.Name)
	if err != nil {
		return false, s.directoryWaits(err)
	}
	if slices.ContainsFunc(rows, isOpen) {
		return false, nil
	}
	var live v1alpha1.PECDomainList
	if err := s.Live.List(ctx, &live, client.MatchingFields{"metadata.name": held.Name}); err != nil {
		return false, fmt.Errorf("listing the PECDomains %s: %w", held.Name, err)
	}
	return len(live.Items) == 0, nil
}

// hasMovedTo says whether a PECDomain has its domain elsewhere, where something of it is still to end on this stack. A cache can be behind: the
// API server's own word counts.
func (s *scope) hasMovedTo(ctx context.Context, home *v1alpha1.PECDomain, held admin.Domain) (bool, error) {
	if is, err := s.isServedElsewhere(ctx, home); err != nil || !is {
		return false, err
	}
	rows, err := s.directory().Rows(ctx, held.Name)
	if err != nil {
		return false, s.directoryWaits(err)
	}
	if !held.Local && !slices.ContainsFunc(rows, isOpen) || !movesAll(rows, home.Namespace) {
		return false, nil
	}
	var live v1alpha1.PECDomainList
	if err := s.Live.List(ctx, &live, client.InNamespace(home.Namespace), client.MatchingFields{"metadata.name": home.Name}); err != nil {
		return false, fmt.Errorf("listing PECDomain %s/%s: %w", home.Namespace, home.Name, err)
	}
	return len(live.Items) > 0 && live.Items[0].UID == home.UID && live.Items[0].DeletionTimestamp.IsZero(), nil
}

// isServedElsewhere says whether the mail of a PECDomain is at another provider, or on another stack that serves it.
func (s *scope) isServedElsewhere(ctx context.Context, d *v1alpha1.PECDomain) (bool, error) {
	if !d.DeletionTimestamp.IsZero() || refs.Host(d) == s.host {
		return false, nil
	}
	if d.Spec.Provider.Type != v1alpha1.ProviderHosted {
		return true, nil
	}
	host := &v1alpha1.PECDomain{}
	if err := s.Client.Get(ctx, refs.Host(d), host); err != nil {
		return false, client.IgnoreNotFound(err) // a host that is not there serves nobody
	}
	reason := judgeHost(d, host).Reason
	return reason == v1alpha1.ReasonHostServes || reason == v1alpha1.ReasonHostNotReady, nil
}

func isOpen(row admin.Mailbox) bool { return row.Access != admin.AccessClosed }

// movesAll says whether all open rows of a domain are those of the namespace that moved it. Another body's are not its to close: that body
// deletes its Mailboxes, or still uses them. Pure.
func movesAll(rows []admin.Mailbox, namespace string) bool {
	return !slices.ContainsFunc(rows, func(row admin.Mailbox) bool { return isOpen(row) && !isOf(row, namespace) })
}

// isOf says whether a row is of a namespace, or of a release that did not note whose it was. Pure.
func isOf(row admin.Mailbox, namespace string) bool {
	return row.Owner.Namespace == "" || row.Owner.Namespace == namespace
}
