package pecdomain

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// apartAfter is how long the sites' mailboxes must differ before that is said: Git reaches no two clusters at once.
	apartAfter = time.Minute
	// maxNames is how many names of mailboxes that differ a status has.
	maxNames = 10
)

// specs are the Mailbox resources of a domain at one site, by local part.
type specs map[string]box

// box is a mailbox as a site has it: a hash of the spec that it was given, and what is in force of that. A contract may hold at one site
// what it admits at the other, and then a mailbox is full at one of them only.
type box struct{ spec, inForce string }

// boxOf is a mailbox of a domain whose spec has that hash. Of what another provider runs, only one site looks at what is in force. Pure.
func boxOf(d *v1alpha1.PECDomain, m *v1alpha1.Mailbox, spec string) box {
	if d.Spec.Provider.External != nil {
		return box{spec: spec}
	}
	quota, access := resource.Quantity{}, v1alpha1.EffectiveAccess{}
	if q, err := resource.ParseQuantity(m.Status.Quota); err == nil {
		quota = q
	}
	if m.Status.EffectiveAccess != nil {
		access = *m.Status.EffectiveAccess
	}
	return box{spec: spec, inForce: fmt.Sprintf("%s %d %s", m.Status.AdmittedAs, quota.Value(), access.Access)}
}

// digest is equal at two sites that were given the same resources. Pure.
func (s specs) digest() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(h, "%s %s %s\n", name, s[name].spec, s[name].inForce)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// differing are the names that only one of the two has, or each with another spec or other things in force, sorted. Pure.
func (s specs) differing(other specs) []string {
	var names []string
	for name, box := range s {
		if other[name] != box {
			names = append(names, name)
		}
	}
	for name := range other {
		if _, both := s[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// givenSame says whether both were given the same, whatever is in force of it. Pure.
func (s specs) givenSame(other specs) bool {
	return maps.EqualFunc(s, other, func(a, b box) bool { return a.spec == b.spec })
}

// hashed is the hash of a spec that was hashed already: nobody hashes ten thousand specs on every pass.
type hashed struct {
	generation int64
	hash       string
}

// memoryOfSpecs remembers, between passes, the hashes of a domain's mailboxes and where they stand apart from the other site's. Losing
// it costs a minute, and no more.
type memoryOfSpecs struct {
	hashes map[types.UID]hashed
	apart  *apart
}

// apart is a difference between the sites' mailboxes.
type apart struct {
	since       time.Time
	own, theirs string // digests that names is of; "" before the first comparison
	listed      time.Time
	names       []string
	inForce     bool // both were given the same, and only what is in force differs
}

// settled says whether a difference is old enough, and looked into, to be spoken of. Pure.
func (a *apart) settled(now time.Time) bool {
	return now.Sub(a.since) >= apartAfter && len(a.names) > 0
}

// digestMailboxes hashes what this site was given.
func digestMailboxes(ctx context.Context, s *scope) (reconcile.Result, error) {
	var list v1alpha1.MailboxList
	err := s.Client.List(ctx, &list, client.InNamespace(s.domain.Namespace), client.MatchingFields{refs.MailboxDomain: s.domain.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("listing the mailboxes of %s: %w", s.domain.Name, err)
	}
	m := s.memoryOfSpecs()
	hashes := make(map[types.UID]hashed, len(list.Items))
	s.specs = make(specs, len(list.Items))
	for i := range list.Items {
		mailbox := &list.Items[i]
		h := m.hashes[mailbox.UID]
		if h.generation != mailbox.Generation {
			h = hashed{mailbox.Generation, hashOf(mailbox.Spec)}
		}
		hashes[mailbox.UID], s.specs[mailbox.Spec.LocalPart] = h, boxOf(s.domain, mailbox, h.hash)
	}
	m.hashes = hashes
	return reconcile.Result{}, nil
}

// specsOf hashes what the other site was given of a domain. Pure.
func specsOf(d *v1alpha1.PECDomain, mailboxes []v1alpha1.Mailbox) specs {
	out := make(specs, len(mailboxes))
	for i := range mailboxes {
		out[mailboxes[i].Spec.LocalPart] = boxOf(d, &mailboxes[i], hashOf(mailboxes[i].Spec))
	}
	return out
}

// compareMailboxes finds where the sites' mailboxes differ: nil where they do not, as far as this site knows. The other site's are read
// only when its digest has been another for a while, and again only when a digest moves.
func (s *scope) compareMailboxes(ctx context.Context) *apart {
	m := s.memoryOfSpecs()
	own, theirs := s.specs.digest(), digestOf(localSite(s.peer))
	if s.peer == nil {
		return m.apart
	}
	if theirs == "" || theirs == own {
		m.apart = nil
		return nil
	}
	if m.apart == nil {
		m.apart = &apart{since: s.Now}
	}
	a := m.apart
	if s.Now.Sub(a.since) < apartAfter || (a.own == own && a.theirs == theirs) || s.Now.Sub(a.listed) < apartAfter {
		return a
	}
	a.listed = s.Now
	if others, err := s.Peer.Mailboxes(ctx, client.ObjectKeyFromObject(s.domain)); err == nil {
		other := specsOf(s.domain, others)
		a.own, a.theirs, a.names, a.inForce = own, theirs, s.specs.differing(other), s.specs.givenSame(other)
	}
	return a
}

func digestOf(site *v1alpha1.SiteStatus) string {
	if site == nil || site.Specs == nil {
		return ""
	}
	return site.Specs.Digest
}

// siteSpecs is a digest as the status shows it, with what is known of a difference. Pure.
func siteSpecs(digest string, a *apart, now time.Time) *v1alpha1.SiteSpecs {
	if digest == "" {
		return nil
	}
	out := &v1alpha1.SiteSpecs{Digest: digest}
	if a != nil && a.settled(now) {
		out.Differing = ptr.To(int32(min(len(a.names), 1<<30))) //nolint:gosec // bounded in the line
		out.Names = a.names[:min(len(a.names), maxNames)]
	}
	return out
}

func (s *scope) memoryOfSpecs() *memoryOfSpecs {
	key := client.ObjectKeyFromObject(s.domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.compared == nil {
		s.compared = map[types.NamespacedName]*memoryOfSpecs{}
	}
	s.compared[key] = cmp.Or(s.compared[key], &memoryOfSpecs{})
	return s.compared[key]
}

// hashOf is equal for equal specs.
func hashOf(spec any) string {
	raw, err := json.Marshal(spec)
	if err != nil {
		return "" // a spec that came from JSON goes back to JSON
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// forget drops what was remembered of the mailboxes of a domain that is gone.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.compared, key)
}
