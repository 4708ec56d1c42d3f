package pecdomain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestJudgeCertificate(t *testing.T) {
	newPair := func() pki.Pair {
		pair, err := pki.NewAuthority("a", now)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	good, other := newPair(), newPair()
	for name, c := range map[string]struct {
		cert, key  []byte
		at         time.Time
		wantReason string
	}{
		"a pair that is valid now can be used":          {good.Cert, good.Key, now, v1alpha1.ReasonCertificateUsable},
		"no certificate is a missing Secret":            {nil, good.Key, now, v1alpha1.ReasonSecretMissing},
		"no key is a missing Secret":                    {good.Cert, nil, now, v1alpha1.ReasonSecretMissing},
		"a certificate that is no PEM cannot be read":   {[]byte("x"), good.Key, now, v1alpha1.ReasonCertificateUnreadable},
		"a key that is no PEM cannot be read":           {good.Cert, []byte("x"), now, v1alpha1.ReasonCertificateUnreadable},
		"another certificate's key does not fit":        {good.Cert, other.Key, now, v1alpha1.ReasonKeyMismatch},
		"past its end it has expired":                   {good.Cert, good.Key, now.AddDate(11, 0, 0), v1alpha1.ReasonCertificateExpired},
		"before its beginning it cannot be used either": {good.Cert, good.Key, now.AddDate(0, 0, -1), v1alpha1.ReasonCertificateExpired},
	} {
		t.Run(name, func(t *testing.T) {
			if reason, message := judgeCertificate(c.cert, c.key, c.at); reason != c.wantReason {
				t.Errorf("reason %s (%s), want %s", reason, message, c.wantReason)
			}
		})
	}
}

func claim(name, uid, size string, bound bool, restored ...string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	if bound {
		c.Status.Phase = corev1.ClaimBound
	}
	if len(restored) > 0 {
		c.Annotations = map[string]string{RestoredAnnotation: restored[0]}
	}
	return c
}

func TestPlanOfClaims(t *testing.T) {
	desired := []*corev1.PersistentVolumeClaim{claim("mail", "", "2Gi", false), claim("queue", "", "2Gi", false)}
	recorded := []v1alpha1.ClaimStatus{{Name: "mail", UID: "m"}, {Name: "queue", UID: "q"}}
	live := func(claims ...*corev1.PersistentVolumeClaim) map[string]*corev1.PersistentVolumeClaim {
		m := map[string]*corev1.PersistentVolumeClaim{}
		for _, c := range claims {
			m[c.Name] = c
		}
		return m
	}
	mail, queue := claim("mail", "m", "2Gi", true), claim("queue", "q", "2Gi", true)
	for name, c := range map[string]struct {
		live                  map[string]*corev1.PersistentVolumeClaim
		recorded              []v1alpha1.ClaimStatus
		ran                   bool
		wantCreate, wantGrow  int
		wantLarger, wantError string
	}{
		"claims that were never made are made":                         {live: live(), wantCreate: 2},
		"a pass that was cut short goes on":                            {live: live(claim("mail", "m", "2Gi", false)), wantCreate: 1},
		"claims that are there stay":                                   {live: live(mail, queue), recorded: recorded, ran: true},
		"a status that was lost loses no claim":                        {live: live(mail, queue), ran: true},
		"a recorded claim that is gone is lost":                        {live: live(mail), recorded: recorded, wantError: "queue"},
		"with a StatefulSet, a claim that is gone is lost":             {live: live(), ran: true, wantError: "mail"},
		"beside a claim with a volume, one that is not there was lost": {live: live(queue), wantError: "mail"},
		"a claim of the same name is not the one that was made":        {live: live(mail, claim("queue", "x", "2Gi", true)), recorded: recorded, wantError: "queue"},
		"a person's word makes it the one":                             {live: live(mail, claim("queue", "x", "2Gi", true, "true")), recorded: recorded},
		"a smaller claim grows":                                        {live: live(claim("mail", "m", "1Gi", true), queue), recorded: recorded, wantGrow: 1},
		"a larger claim stays, and that is said":                       {live: live(claim("mail", "m", "3Gi", true), queue), recorded: recorded, wantLarger: "mail"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := claims{desired: desired, live: c.live, recorded: c.recorded, ran: c.ran}.plan()
			if c.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantError) {
					t.Fatalf("error %v, want one about %s", err, c.wantError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(p.create) != c.wantCreate || len(p.grow) != c.wantGrow || p.larger != c.wantLarger {
				t.Errorf("create %d, grow %d, larger %q", len(p.create), len(p.grow), p.larger)
			}
			for _, g := range p.grow {
				if before := c.live[g.Name].Spec.Resources.Requests[corev1.ResourceStorage]; before.String() != "1Gi" {
					t.Error("the plan changed what it was given")
				}
			}
		})
	}
}

func TestWhatOfADomainConcernsItsGuests(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.PECDomain)
		want   bool
	}{
		"another spec": {func(d *v1alpha1.PECDomain) { d.Generation++ }, true},
		"a stack that stopped serving": {func(d *v1alpha1.PECDomain) {
			meta.SetStatusCondition(&d.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionStackReady, Status: metav1.ConditionFalse, Message: "the disk is full"})
		}, true},
		"its own MX": {func(d *v1alpha1.PECDomain) {
			meta.SetStatusCondition(&d.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionDNSVerified, Status: metav1.ConditionFalse})
		}, false},
		"what its contract comes to": {func(d *v1alpha1.PECDomain) {
			d.Status.Contract, d.Status.Mailboxes = &v1alpha1.ContractStatus{Held: ptr.To(int32(1))}, &v1alpha1.MailboxCounts{Total: ptr.To(int32(1))}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.PECDomain{}
			for _, condition := range managedTable.Positive {
				meta.SetStatusCondition(&before.Status.Conditions, metav1.Condition{Type: condition, Status: metav1.ConditionTrue})
			}
			after := before.DeepCopy()
			if c.change(after); concernsRelated(before, after) != c.want {
				t.Errorf("it concerns them: %t", !c.want)
			}
		})
	}
}

func TestOrphans(t *testing.T) {
	rows := []admin.Mailbox{{Address: "a@d", Access: admin.AccessFull}, {Address: "b@d", Access: admin.AccessClosed}, {Address: "c@d", Access: admin.AccessSuspended}}
	rows = append(rows, admin.Mailbox{Address: "e@d", Access: admin.AccessFull, Owner: admin.Owner{Namespace: "comune"}},
		admin.Mailbox{Address: "f@d", Access: admin.AccessFull, Owner: admin.Owner{Namespace: "altro"}})
	var mailboxes []v1alpha1.Mailbox
	for _, local := range []string{"a", "e", "f"} {
		mailboxes = append(mailboxes, v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Namespace: "comune"},
			Spec: v1alpha1.MailboxSpec{LocalPart: local, DomainRef: v1alpha1.LocalReference{Name: "d"}}})
	}
	got := orphans(rows, mailboxes, "")
	if diff := cmp.Diff([]admin.Mailbox{rows[2], rows[4]}, got); diff != "" {
		t.Errorf("the orphans are the open row without a Mailbox, and the one whose Mailbox another namespace has (-want +got):\n%s", diff)
	}
	got = orphans(rows, mailboxes, "comune")
	if diff := cmp.Diff([]admin.Mailbox{rows[0], rows[2], rows[3], rows[4]}, got); diff != "" {
		t.Errorf("when their namespace has the domain elsewhere all open rows but another's are orphans (-want +got):\n%s", diff)
	}
}

func TestMovesAll(t *testing.T) {
	of := func(namespace string, access admin.Access) admin.Mailbox {
		return admin.Mailbox{Access: access, Owner: admin.Owner{Namespace: namespace}}
	}
	for name, c := range map[string]struct {
		rows []admin.Mailbox
		want bool
	}{
		"no mailbox is anybody's":                      {nil, true},
		"its own are its to close":                     {[]admin.Mailbox{of("comune", admin.AccessFull), of("comune", admin.AccessSuspended)}, true},
		"those of a release that noted nobody are":     {[]admin.Mailbox{of("", admin.AccessFull)}, true},
		"another body's open one is not":               {[]admin.Mailbox{of("comune", admin.AccessFull), of("altri", admin.AccessReadOnly)}, false},
		"another body's that was deleted needs no end": {[]admin.Mailbox{of("altri", admin.AccessClosed)}, true},
	} {
		if got := movesAll(c.rows, "comune"); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestLinkPeer(t *testing.T) {
	hosts := []v1alpha1.MailHost{{Site: "a", PeerLink: "link-a.test:9443"}, {Site: "b", PeerLink: "link-b.test:9443"}}
	site := func(name, ca string) *v1alpha1.PECDomain {
		d := &v1alpha1.PECDomain{Status: v1alpha1.PECDomainStatus{Sites: []v1alpha1.SiteStatus{{Name: name, Locality: v1alpha1.SiteLocal}}}}
		if ca != "" {
			d.Status.PeerLink = &v1alpha1.PeerLinkStatus{CABundle: ca}
		}
		return d
	}
	b := admin.Peer{Site: "b", Address: "link-b.test:9443", CABundle: "ca"}
	for name, c := range map[string]struct {
		hosts     []v1alpha1.MailHost
		other     *v1alpha1.PECDomain
		told      admin.Peer
		want      admin.Peer
		wantKnown bool
		wantAgain time.Duration // where nothing is known, or nothing new
	}{
		"a site that answers":                                    {hosts: hosts, other: site("b", "ca"), want: b, wantKnown: true},
		"a site that was told of":                                {hosts: hosts, other: site("b", "ca"), told: b, want: b, wantKnown: true},
		"one that is being set up is looked at soon":             {hosts: hosts, other: site("b", ""), wantAgain: soon},
		"one that cannot be read stays, and is not asked faster": {hosts: hosts, told: b},
		"one that was never read is not asked faster either":     {hosts: hosts},
		"a single site has nobody, which it is told":             {hosts: hosts[:1], other: site("b", "ca"), wantKnown: true},
		"a site whose link is gone is taken back":                {hosts: hosts[:1], told: b, wantKnown: true},
		"also while it answers":                                  {hosts: hosts[:1], other: site("b", "ca"), told: b, wantKnown: true},
		"one that another has replaced is":                       {hosts: []v1alpha1.MailHost{hosts[0], {Site: "c", PeerLink: "link-c.test:9443"}}, told: b, wantKnown: true},
	} {
		t.Run(name, func(t *testing.T) {
			own := &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{Provider: v1alpha1.DomainProvider{Managed: &v1alpha1.ManagedProvider{MailHosts: c.hosts}}}}
			link, known := peerLink(own, c.other, "a", c.told.Site)
			if link != c.want || known != c.wantKnown {
				t.Errorf("got %+v, %v", link, known)
			}
			if known && c.told != c.want {
				return
			}
			s := &scope{Reconciler: &Reconciler{Stack: stack.Settings{Site: "a"}}, domain: own, peer: c.other}
			s.engineStatus.Peer = admin.PeerState{Site: c.told.Site, Digest: c.told.Digest()}
			if result, err := linkPeer(t.Context(), s); err != nil || result.RequeueAfter != c.wantAgain {
				t.Errorf("looked at again after %s, %v", result.RequeueAfter, err)
			}
		})
	}
}

func TestJudgeReachable(t *testing.T) {
	known := &metav1.Condition{Type: v1alpha1.ConditionPeerReachable, Status: metav1.ConditionTrue}
	for name, c := range map[string]struct {
		state peer.State
		known *metav1.Condition
		want  metav1.ConditionStatus // "" for nothing said
	}{
		"a peer that answers is reachable":                   {peer.State{Reachable: true, Since: now}, nil, metav1.ConditionTrue},
		"a peer that fell silent a moment ago is not news":   {peer.State{Since: now.Add(-10 * time.Second)}, known, metav1.ConditionTrue},
		"a peer that was never asked is not spoken of":       {peer.State{Since: now.Add(-10 * time.Second)}, nil, ""},
		"a peer that has been silent for 50 seconds is gone": {peer.State{Since: now.Add(-50 * time.Second)}, known, metav1.ConditionFalse},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeReachable(c.state, c.known, now)
			if (got == nil) != (c.want == "") || (got != nil && got.Status != c.want) {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

func TestJudgeSpec(t *testing.T) {
	own := &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{PreferredSite: "a"}}
	other := &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{PreferredSite: "b"}}
	known := &metav1.Condition{Type: v1alpha1.ConditionSpecInSync, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSpecsEqual}
	differed := &metav1.Condition{Type: v1alpha1.ConditionSpecInSync, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonMailboxesDiffer}
	old := &apart{since: now.Add(-time.Minute), names: []string{"protocollo"}}
	notFound := apierrors.NewNotFound(schema.GroupResource{}, "x")
	silent := func(d time.Duration) peer.State { return peer.State{Since: now.Add(-d)} }
	for name, c := range map[string]struct {
		other *v1alpha1.PECDomain
		err   error
		state peer.State
		known *metav1.Condition
		want  string // reason; "" for nothing said
		apart *apart
	}{
		"equal specs":                   {own.DeepCopy(), nil, peer.State{Reachable: true}, nil, v1alpha1.ReasonSpecsEqual, nil},
		"other specs":                   {other, nil, peer.State{Reachable: true}, nil, v1alpha1.ReasonSpecsDiffer, nil},
		"absence is not a delete order": {nil, notFound, peer.State{Reachable: true}, known, v1alpha1.ReasonPeerLacksObject, nil},
		"what was read of a silent peer is believed": {nil, peer.ErrNotConnected, silent(time.Minute), known, v1alpha1.ReasonSpecsEqual, nil},
		"but not for ever":                           {nil, peer.ErrNotConnected, silent(6 * time.Minute), known, v1alpha1.ReasonPeerUnknown, nil},
		"nothing is said before the first word":      {nil, peer.ErrNotConnected, silent(time.Second), nil, "", nil},
		"a first word that never comes is unknown":   {nil, peer.ErrNotConnected, silent(time.Minute), nil, v1alpha1.ReasonPeerUnknown, nil},
		"a failed read is not an absence":            {nil, errors.New("timeout"), silent(6 * time.Minute), known, v1alpha1.ReasonPeerUnknown, nil},
		"mailboxes that differ since a moment ago":   {own.DeepCopy(), nil, peer.State{Reachable: true}, nil, v1alpha1.ReasonSpecsEqual, &apart{since: now}},
		"mailboxes that differ for a minute":         {own.DeepCopy(), nil, peer.State{Reachable: true}, known, v1alpha1.ReasonMailboxesDiffer, old},
		"a new process believes what was said":       {own.DeepCopy(), nil, peer.State{Reachable: true}, differed, v1alpha1.ReasonMailboxesDiffer, &apart{since: now}},
		"quotas in force that differ for a minute":   {own.DeepCopy(), nil, peer.State{Reachable: true}, known, v1alpha1.ReasonInForceDiffers, &apart{since: now.Add(-time.Minute), names: []string{"protocollo"}, inForce: true}},
		"a new process believes that too":            {own.DeepCopy(), nil, peer.State{Reachable: true}, &metav1.Condition{Type: v1alpha1.ConditionSpecInSync, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonInForceDiffers}, v1alpha1.ReasonInForceDiffers, &apart{since: now}},
		"the same at last":                           {own.DeepCopy(), nil, peer.State{Reachable: true}, differed, v1alpha1.ReasonSpecsEqual, nil},
		"the domain's own spec comes first":          {other, nil, peer.State{Reachable: true}, known, v1alpha1.ReasonSpecsDiffer, old},
		"a digest that moved and shows nothing":      {own.DeepCopy(), nil, peer.State{Reachable: true}, known, v1alpha1.ReasonSpecsEqual, &apart{since: now.Add(-time.Hour)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeSpec(own, peerWord{domain: c.other, err: c.err, apart: c.apart, state: c.state}, c.known, now)
			if (got == nil) != (c.want == "") || (got != nil && got.Reason != c.want) {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

func TestWhatIsShownOfASiteThatWasNotRead(t *testing.T) {
	own := v1alpha1.SiteStatus{Name: "a", Locality: v1alpha1.SiteLocal, Ready: metav1.ConditionTrue}
	ready := v1alpha1.SiteStatus{Name: "b", Locality: v1alpha1.SitePeer, Ready: metav1.ConditionTrue, SpecHash: "1"}
	unknown := ready
	unknown.Ready = metav1.ConditionUnknown
	for name, tc := range map[string]struct {
		reason string
		old    []v1alpha1.SiteStatus
		want   []v1alpha1.SiteStatus
	}{
		"what was known of it, for a moment":                  {v1alpha1.ReasonSpecsEqual, []v1alpha1.SiteStatus{own, ready}, []v1alpha1.SiteStatus{ready}},
		"the same where nothing is said of its spec":          {"", []v1alpha1.SiteStatus{own, ready}, []v1alpha1.SiteStatus{ready}},
		"not that it is Ready, when it has been silent":       {v1alpha1.ReasonPeerUnknown, []v1alpha1.SiteStatus{own, ready}, []v1alpha1.SiteStatus{unknown}},
		"nothing, where it does not have the PECDomain":       {v1alpha1.ReasonPeerLacksObject, []v1alpha1.SiteStatus{own, ready}, nil},
		"nothing of a site that was never read by this one":   {v1alpha1.ReasonPeerUnknown, []v1alpha1.SiteStatus{own}, nil},
		"the same on each pass over one that has been silent": {v1alpha1.ReasonPeerUnknown, []v1alpha1.SiteStatus{own, unknown}, []v1alpha1.SiteStatus{unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			var spec *metav1.Condition
			if tc.reason != "" {
				spec = &metav1.Condition{Type: v1alpha1.ConditionSpecInSync, Reason: tc.reason}
			}
			if diff := cmp.Diff(tc.want, unreadPeer(tc.old, spec)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSiteTimesMoveOnlyWithTheRest(t *testing.T) {
	entry := v1alpha1.SiteStatus{Name: "a", Locality: v1alpha1.SiteLocal, Ready: metav1.ConditionTrue, Mailboxes: ptr.To(int32(3))}
	first := stampSites(nil, []v1alpha1.SiteStatus{entry}, now)
	quiet := stampSites(first, []v1alpha1.SiteStatus{entry}, now.Add(time.Hour))
	if diff := cmp.Diff(first, quiet); diff != "" {
		t.Errorf("a quiet hour changed the status:\n%s", diff)
	}
	entry.Ready = metav1.ConditionFalse
	if got := stampSites(quiet, []v1alpha1.SiteStatus{entry}, now.Add(time.Hour)); !got[0].ObservedTime.Time.Equal(now.Add(time.Hour)) {
		t.Errorf("a change was observed at %s", got[0].ObservedTime)
	}
}

func TestJudgeIndex(t *testing.T) {
	for name, c := range map[string]struct {
		index      admin.Index
		wantFresh  bool
		wantReason string
		wantWords  string
	}{
		"downloaded today it is fresh":                  {admin.Index{Fetched: now.Add(-time.Hour)}, true, v1alpha1.ReasonIndexDownloaded, "is of 2026-03-01"},
		"a failure of today leaves it fresh":            {admin.Index{Fetched: now.Add(-30 * time.Hour), LastError: "x"}, true, v1alpha1.ReasonIndexDownloaded, "is of"},
		"after two days it is stale, and says why":      {admin.Index{Fetched: now.Add(-49 * time.Hour), LastError: "no route"}, false, v1alpha1.ReasonIndexStale, "stays in force: no route"},
		"never downloaded it is stale":                  {admin.Index{LastError: "no route"}, false, v1alpha1.ReasonIndexStale, "never downloaded from https://i.test/: no route"},
		"an engine that it does not list says so":       {admin.Index{Fetched: now, Unlisted: true}, true, v1alpha1.ReasonIndexDownloaded, "index record"},
		"its age is an instant, so that the words stay": {admin.Index{Fetched: now.Add(-time.Minute)}, true, v1alpha1.ReasonIndexDownloaded, "T11:59:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			fresh, reason, message := judgeIndex(c.index, "https://i.test/", now)
			if fresh != c.wantFresh || reason != c.wantReason || !strings.Contains(message, c.wantWords) {
				t.Errorf("%v %s %q", fresh, reason, message)
			}
		})
	}
}

func TestJudgeSeals(t *testing.T) {
	for name, c := range map[string]struct {
		seals      admin.Seals
		wantSealed bool
		wantWords  string
	}{
		"on the first day nothing is missing":           {admin.Seals{}, true, "no day"},
		"sealed and stamped":                            {admin.Seals{Day: "2026-02-28", Stamping: true}, true, "time-stamped up to 2026-02-28"},
		"without an authority it says what to give":     {admin.Seals{Day: "2026-02-28"}, true, "timestamping"},
		"a time-stamp that waits for hours is not late": {admin.Seals{Day: "2026-02-28", Stamping: true, Unstamped: 1, LastError: "x"}, true, "up to"},
		"one that waits for more than a day is":         {admin.Seals{Day: "2026-02-28", Stamping: true, Unstamped: 2, Late: true, LastError: "no route"}, false, "no route"},
	} {
		t.Run(name, func(t *testing.T) {
			if sealed, _, message := judgeSeals(c.seals); sealed != c.wantSealed || !strings.Contains(message, c.wantWords) {
				t.Errorf("%v %q", sealed, message)
			}
		})
	}
}

// gone is a cache without anything.
type gone struct{ client.Client }

func (gone) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "pecdomains"}, key.Name)
}

func TestADomainThatIsGoneIsForgotten(t *testing.T) {
	pair, err := pki.NewAuthority("a", now)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	pool := engines.NewPool("a", authority, time.Now, nil)
	view := (&DNSView{}).Ready()
	r := &Reconciler{Mechanism: &reconcile.Mechanism{Client: gone{}}, Engines: pool, DNS: view, Meter: &ServiceMeter{}, Book: contracts.New(gone{}, pool, contracts.Sites{}, time.Now)}
	key := types.NamespacedName{Namespace: "comune", Name: "pec.comune.test"}
	view.domains[key] = &memory{}
	r.compared = map[types.NamespacedName]*memoryOfSpecs{key: {}}
	before := pool.Directory(engines.First(key))
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	if len(view.domains)+len(r.compared) > 0 || pool.Directory(engines.First(key)) == before {
		t.Errorf("of a domain that is gone is left: %v, %v, and its directory", view.domains, r.compared)
	}
}

func TestMailHostsThatNobodyNamesAreForgotten(t *testing.T) {
	view := (&DNSView{Interval: 24 * time.Hour, Observer: &dns.Observer{}}).Ready()
	clock := now
	for i := range 100 {
		view.probes[fmt.Sprintf("mx.%d.test", i)] = &probe{until: now.Add(time.Duration(i) * time.Second)}
	}
	prober := &dns.Prober{Observer: &dns.Observer{Roots: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, Timeout: time.Millisecond}
	clock = clock.Add(90 * time.Second)
	view.probe(t.Context(), prober, "mx.new.test", func() time.Time { return clock })
	if len(view.probes) != 10 {
		t.Errorf("%d mail hosts are remembered, want the nine that were knocked at a moment ago and the new one", len(view.probes))
	}
}
