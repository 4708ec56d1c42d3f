package manager_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
)

// asked is a mailbox that was asked for at a minute.
func asked(s *site, localPart string, minute int, change ...func(*v1alpha1.Mailbox)) *v1alpha1.Mailbox {
	m := makeMailbox(s.ns, localPart, s.domain, change...)
	m.Spec.RequestedAt = metav1.NewTime(time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC))
	return m
}

// contracted is a site whose domain has a contract and is Ready.
func contracted(t *testing.T, ns string, c v1alpha1.Contract, o siteOptions) (*site, *v1alpha1.PECDomain) {
	t.Helper()
	s := newSite(t, ns, o)
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.Contract = &c })
	s.provide(t)
	s.create(t, domain, password(s.ns, hashed))
	s.ready(t, domain)
	return s, domain
}

func (s *site) held(t *testing.T, m *v1alpha1.Mailbox, reason, says string) {
	t.Helper()
	var c *metav1.Condition
	eventually(t, func() error {
		c = s.waitFor(t, m, v1alpha1.ConditionAdmitted, metav1.ConditionFalse, reason)
		if !strings.Contains(c.Message, says) {
			return fmt.Errorf("%s: %q does not say %q", m.Name, c.Message, says)
		}
		return nil
	})
	if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReconciling); c != nil {
		t.Errorf("%s is held and said to be under way: %s", m.Name, c.Message)
	}
}

// stands waits until the domain's contract comes to so many Standard mailboxes, so many of them closed, and so many held.
func (s *site) stands(t *testing.T, d *v1alpha1.PECDomain, reason string, standard, closed, held int32) {
	t.Helper()
	eventually(t, func() error {
		s.get(t, d.Namespace, d.Name, d)
		got := d.Status.Contract
		c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionContractHonoured)
		if got == nil || c == nil || c.Reason != reason || *got.Used.Standard != standard || *got.Used.Closed != closed || *got.Held != held {
			return fmt.Errorf("the contract of %s stands at %+v (%v), want %s, %d standard, %d closed, %d held", d.Name, got, c, reason, standard, closed, held)
		}
		return nil
	})
}

func (s *site) row(t *testing.T, address string) (row admin.Mailbox) {
	t.Helper()
	s.pods.With(t, s.domain, func(e *apitest.Engine) { row = e.Rows[address] })
	return row
}

func TestAContractAdmitsAndHolds(t *testing.T) {
	s, domain := contracted(t, "contratto", v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(2))}, siteOptions{})
	first, second, third, fourth := asked(s, "primo", 1), asked(s, "secondo", 2), asked(s, "terzo", 3), asked(s, "quarto", 4)
	s.create(t, fourth, second, third, first)
	s.ready(t, first, second)
	s.held(t, third, v1alpha1.ReasonHeldByContract, "contract C-12: 2 of 2 Standard mailboxes in use; this request is number 1")
	s.held(t, fourth, v1alpha1.ReasonHeldByContract, "number 2 in the queue")
	if first.Status.AdmittedAs != v1alpha1.MailboxStandard || third.Status.AdmittedAs != "" {
		t.Errorf("admitted as %q, held as %q", first.Status.AdmittedAs, third.Status.AdmittedAs)
	}
	s.stands(t, domain, v1alpha1.ReasonWithinContract, 2, 0, 2)

	t.Run("deleting a mailbox makes no room, its mail is kept; making it again gives it back", func(t *testing.T) {
		if err := s.Delete(context.Background(), second); err != nil {
			t.Fatal(err)
		}
		s.stands(t, domain, v1alpha1.ReasonWithinContract, 2, 1, 2)
		if row := s.row(t, second.Address()); row.Access != admin.AccessClosed || row.ClosedAt.IsZero() || row.Owner.Namespace != s.ns || row.Owner.UID != string(second.UID) {
			t.Errorf("the tombstone is %+v", row)
		}
		s.held(t, third, v1alpha1.ReasonHeldByContract, "mailboxes that are closed and keep their mail count: 1")
		again := asked(s, "secondo", 59)
		s.create(t, again)
		s.ready(t, again)
		c := s.waitFor(t, again, v1alpha1.ConditionProvisioned, metav1.ConditionTrue, v1alpha1.ReasonReadopted)
		if !strings.Contains(c.Message, "with the mail that it had") {
			t.Errorf("message is %q", c.Message)
		}
		if row := s.row(t, again.Address()); row.Access != admin.AccessFull || row.Owner.UID != string(again.UID) {
			t.Errorf("the row is %+v", row)
		}
		eventually(t, func() error {
			var events eventsv1.EventList
			if err := s.List(context.Background(), &events, client.InNamespace(s.ns)); err != nil {
				return err
			}
			if !slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
				return e.Reason == v1alpha1.ReasonReadopted && e.Regarding.Name == again.Name
			}) {
				return errors.New("no event says Readopted")
			}
			return nil
		})
		s.held(t, third, v1alpha1.ReasonHeldByContract, "2 of 2 Standard mailboxes in use; this")
	})
	t.Run("who withdraws gives up the place, and the first in the queue comes in when there is room", func(t *testing.T) {
		if err := s.Delete(context.Background(), third); err != nil {
			t.Fatal(err)
		}
		s.held(t, fourth, v1alpha1.ReasonHeldByContract, "number 1 in the queue")
		update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Contract.Standard = ptr.To(int32(3)) })
		began := time.Now()
		s.ready(t, fourth)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("room was there for %s", took)
		}
	})
	t.Run("a contract that shrinks turns nobody out", func(t *testing.T) {
		update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Contract.Standard = ptr.To(int32(1)) })
		s.stands(t, domain, v1alpha1.ReasonOverContract, 3, 0, 0)
		s.ready(t, domain, first, fourth)
		late := asked(s, "tardi", 0)
		s.create(t, late)
		s.held(t, late, v1alpha1.ReasonHeldByContract, "3 of 1 Standard")
	})
	t.Run("a contract that ended admits nobody, and who is there stays", func(t *testing.T) {
		update(t, s, domain, func(d *v1alpha1.PECDomain) {
			d.Spec.Contract.Standard, d.Spec.Contract.ValidUntil = ptr.To(int32(100)), "2020-12-31"
		})
		s.stands(t, domain, v1alpha1.ReasonContractEnded, 3, 0, 1)
		s.ready(t, first)
		update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Contract = nil })
		late := asked(s, "tardi", 0)
		s.ready(t, late)
		s.waitFor(t, late, v1alpha1.ConditionAdmitted, metav1.ConditionTrue, v1alpha1.ReasonNoContract)
	})
}

func TestOneWriteUnderAContract(t *testing.T) {
	s, _ := contracted(t, "una-scrittura", v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(1))}, siteOptions{})
	in, out := asked(s, "dentro", 1), asked(s, "fuori", 2)
	s.writes.Take()
	s.create(t, out, in)
	s.ready(t, in)
	s.held(t, out, v1alpha1.ReasonHeldByContract, "number 1")
	time.Sleep(3 * time.Second) // the domain counts, and wakes who is held
	writes := map[string]int{}
	for _, call := range s.writes.Take() {
		for _, m := range []*v1alpha1.Mailbox{in, out} {
			if strings.Contains(call, "/mailboxes/"+m.Name+"/") {
				writes[m.Spec.LocalPart]++
			}
		}
	}
	if writes["dentro"] != 1 || writes["fuori"] != 1 {
		t.Errorf("writes %v, want one for each", writes)
	}
}

// Two sites get the same mailboxes at the same time, in other orders, and hold the same ones.
func TestTwoSitesAdmitTheSame(t *testing.T) {
	const room = 40
	apitest.Need(t, server)
	second, err := apitest.Start()
	if err != nil {
		t.Fatal(err)
	}
	var heldAt sync.Map
	t.Cleanup(func() { // when both are done
		a, _ := heldAt.Load("a")
		if b, _ := heldAt.Load("b"); a != b {
			t.Errorf("one site holds %s, the other %s", a, b)
		}
		if err := second.Stop(); err != nil {
			t.Error(err)
		}
	})
	for name, cluster := range map[string]*apitest.Server{"a": server, "b": second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, domain := contracted(t, "ordine", v1alpha1.Contract{Reference: "C-40", Standard: ptr.To(int32(room))}, siteOptions{name: name, server: cluster})
			var boxes []*v1alpha1.Mailbox
			for i := range room + 2 {
				boxes = append(boxes, asked(s, fmt.Sprintf("box%02d", i), i*7%50))
			}
			order := rand.Perm(len(boxes))
			t.Logf("they come in the order %v", order)
			for _, i := range order {
				s.create(t, boxes[i])
			}
			s.stands(t, domain, v1alpha1.ReasonWithinContract, room, 0, 2)
			eventually(t, func() error {
				var held []string
				ready := 0
				for _, m := range boxes {
					s.get(t, m.Namespace, m.Name, m)
					if meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionReady) {
						ready++
					}
					if meta.IsStatusConditionFalse(m.Status.Conditions, v1alpha1.ConditionAdmitted) {
						held = append(held, m.Spec.LocalPart)
					}
				}
				heldAt.Store(name, strings.Join(held, " "))
				if ready != room || len(held) != 2 {
					return fmt.Errorf("%d are ready and %v held", ready, held)
				}
				return nil
			})
		})
	}
}

// A domain is deleted, its room is given to another, and it is made again: what was provisioned counted all the time.
func TestADomainThatIsGoneGivesUpNoRoom(t *testing.T) {
	s, region := contracted(t, "regione-umbria", v1alpha1.Contract{Reference: "R-2", Standard: ptr.To(int32(2)),
		AllowedNamespaces: []string{"comune-sparito", "comune-restato", "comune-altrove"}}, siteOptions{namespaces: []string{"comune-sparito", "comune-restato", "comune-altrove"}})
	update(t, s, region, func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"comune-sparito", "comune-restato"}
	})
	contract := &v1alpha1.Contract{From: &v1alpha1.DomainReference{Name: s.domain, Namespace: s.ns}}
	gone, stays := s.hostedDomain("comune-sparito", "pec.comune-sparito.test"), s.hostedDomain("comune-restato", "pec.comune-restato.test")
	gone.Spec.Contract, stays.Spec.Contract = contract, contract
	s.create(t, gone, stays, password("comune-sparito", hashed), password("comune-restato", hashed))
	s.ready(t, gone, stays)
	one, two := makeMailbox("comune-sparito", "uno", gone.Name), makeMailbox("comune-sparito", "due", gone.Name)
	s.create(t, one, two)
	s.ready(t, one, two)
	if row := s.row(t, one.Address()); row.AdmittedIn != s.ns+"/"+s.domain {
		t.Errorf("the row says that it was admitted in %q", row.AdmittedIn)
	}
	for _, o := range []client.Object{one, two, gone} {
		if err := s.Delete(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		if s.row(t, one.Address()).Access != admin.AccessClosed || s.row(t, two.Address()).Access != admin.AccessClosed {
			return errors.New("the rows of the domain that is gone are open")
		}
		return nil
	})
	s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 2, 0)
	late := makeMailbox("comune-restato", "tardi", stays.Name)
	s.create(t, late)
	s.held(t, late, v1alpha1.ReasonHeldByContract, "2 of 2 Standard mailboxes in use (mailboxes that are closed and keep their mail count: 2)")
	again, back := s.hostedDomain("comune-sparito", gone.Name), makeMailbox("comune-sparito", "uno", gone.Name)
	again.Spec.Contract = contract
	s.create(t, again, back)
	s.ready(t, again, back)
	s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 1, 1)
	s.held(t, late, v1alpha1.ReasonHeldByContract, "number 1 in the queue")

	t.Run("also while the stack that holds them restarts, for a request on another one", func(t *testing.T) {
		elsewhere := s.makeDomain(func(d *v1alpha1.PECDomain) {
			d.Namespace, d.Name, d.Spec.Contract = "comune-altrove", "pec.comune-altrove.test", contract
		})
		s.create(t, certificateSecret(t, elsewhere.Namespace, "mail-tls", time.Now().Add(time.Hour)), certificateSecret(t, elsewhere.Namespace, "signing", time.Now().Add(time.Hour)),
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere.Namespace, Name: "providers-index"}, Data: map[string]string{"index.ldif": "x", "roots.pem": "x"}},
			elsewhere, password(elsewhere.Namespace, hashed))
		s.ready(t, elsewhere)
		for _, o := range []client.Object{back, again, late} {
			if err := s.Delete(context.Background(), o); err != nil {
				t.Fatal(err)
			}
		}
		s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 2, 0)
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Down = true })
		s.request(t, region, "away")
		s.reaches(t, region, v1alpha1.ConditionDirectoryInSync, metav1.ConditionUnknown)
		other := makeMailbox(elsewhere.Namespace, "altro", elsewhere.Name)
		s.create(t, other)
		s.held(t, other, v1alpha1.ReasonHeldByContract, "2 of 2 Standard mailboxes in use (mailboxes that are closed and keep their mail count: 2)")
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Down = false })
		s.ready(t, region)
		s.held(t, other, v1alpha1.ReasonHeldByContract, "number 1 in the queue")
	})
}

// A stack that was built anew has no rows. Nobody is admitted on its word before it knows which mailboxes were closed.
func TestAStackThatWasBuiltAnewAdmitsNobodyUntilItKnowsWhatItWas(t *testing.T) {
	var ahead atomic.Int64
	s, domain := contracted(t, "rifatto", v1alpha1.Contract{Reference: "C-7", Standard: ptr.To(int32(2))},
		siteOptions{peer: deadPeer(t), change: func(o *manager.Options) {
			o.StandIn = 15 * time.Minute
			o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		}})
	is := func(recall admin.Recall, rows ...admin.Mailbox) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) {
			e.Recall, e.Incomplete = recall, recall != admin.RecallDone
			for _, row := range rows {
				e.Rows[row.Address] = row
			}
		})
	}
	is(admin.RecallUnderWay)
	s.heard(t)
	first, second := asked(s, "primo", 1), asked(s, "secondo", 2)
	s.create(t, first, second)
	for _, m := range []*v1alpha1.Mailbox{first, second} {
		s.waitFor(t, m, v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonStackRecalling)
	}
	s.isWhole(t, false)
	is(admin.RecallDone, admin.Mailbox{Address: "chiusa@" + s.domain, Domain: s.domain, Password: hashed, QuotaBytes: 1 << 30, Access: admin.AccessClosed, Owner: admin.Owner{Namespace: s.ns}})
	s.ready(t, first)
	s.held(t, second, v1alpha1.ReasonHeldByContract, "mailboxes that are closed and keep their mail count: 1")
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Contract.Standard = ptr.To(int32(3)) })
	s.ready(t, second)

	is(admin.RecallSilent)
	s.heard(t)
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Contract.Standard = ptr.To(int32(4)) })
	third := asked(s, "terzo", 3)
	s.create(t, third)
	s.waitFor(t, third, v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonStackRecalling)
	s.isWhole(t, false)
	ahead.Store(int64(16 * time.Minute)) // the other site is silent for longer than it may hold up this one
	s.request(t, third, "silent for long")
	s.request(t, domain, "silent for long")
	s.ready(t, third)
	s.isWhole(t, true)
}

// Without another site there is nobody to wait for but this site's own Mailboxes.
func TestAnEngineWithANewLogIsToldWhenAllMailboxesArePlaced(t *testing.T) {
	s, domain := contracted(t, "nuovo-volume", v1alpha1.Contract{Reference: "C-8", Standard: ptr.To(int32(1))},
		siteOptions{change: func(o *manager.Options) { o.StandIn = time.Hour }})
	first, held := asked(s, "primo", 1), asked(s, "oltre", 2)
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Refuses = map[string]string{first.Address(): "not yet"} })
	s.create(t, first, held)
	s.waitFor(t, first, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonEngineRefuses)
	s.held(t, held, v1alpha1.ReasonHeldByContract, "1 of 1")
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Recall, e.Incomplete = admin.RecallSilent, true })
	s.heard(t)
	passed(t, domain, func() { s.request(t, domain, "not whole") })
	s.isWhole(t, false)
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Refuses = nil })
	update(t, s, first, func(m *v1alpha1.Mailbox) { m.Spec.Holder.Name = "Mario Rossi" })
	s.ready(t, first)
	s.isWhole(t, true)
}

// Whoever was provisioned gets its row back, whatever the contract has become since; who was not gains nothing by the loss.
func TestAContractThatShrankOrEndedTurnsNobodyOutWhoseRowWasLost(t *testing.T) {
	s, domain := contracted(t, "volume-perso", v1alpha1.Contract{Reference: "C-9", Standard: ptr.To(int32(3))},
		siteOptions{change: func(o *manager.Options) { o.StandIn = time.Hour }})
	const certified = "altro@pec.altrove.test"
	first, second, third := asked(s, "primo", 1), asked(s, "secondo", 2), asked(s, "terzo", 3)
	first.Spec.OrdinaryMail = &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailForward, ForwardTo: certified}
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Certified = []string{certified} })
	s.create(t, first, second, third)
	s.ready(t, second, third)
	inPart := func() { // what is refused of the first is refused for good, and the rest of it is there
		t.Helper()
		c := s.waitFor(t, first, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonEngineRefuses)
		if is := first.Status; is.AdmittedAs != v1alpha1.MailboxStandard || is.Quota != "1Gi" || is.Usage == nil || !strings.HasSuffix(c.Message, "all else of it is in force") {
			t.Errorf("it is admitted as %q with %q and usage %v: %s", is.AdmittedAs, is.Quota, is.Usage, c.Message)
		}
	}
	inPart()
	loses := func(when string, boxes ...*v1alpha1.Mailbox) {
		t.Helper()
		last := boxes[len(boxes)-1]
		s.pods.With(t, s.domain, func(e *apitest.Engine) {
			e.Rows, e.Recall, e.Incomplete = map[string]admin.Mailbox{}, admin.RecallSilent, true
			e.Refuses = map[string]string{last.Address(): "not yet"}
		})
		s.waitFor(t, last, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonEngineRefuses)
		passed(t, domain, func() { s.request(t, domain, when) })
		s.isWhole(t, false)
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Refuses = nil })
		s.isWhole(t, true)
		for _, m := range boxes {
			if row := s.row(t, m.Address()); row.AdmittedAs != "Standard" || row.AdmittedIn != s.ns+"/"+s.domain || row.Access != admin.AccessFull {
				t.Errorf("%s: the row of %s is %+v", when, m.Name, row)
			}
		}
		for _, m := range boxes[1:] {
			s.ready(t, m)
		}
		inPart()
	}

	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Contract.Standard = ptr.To(int32(1)) })
	s.stands(t, domain, v1alpha1.ReasonOverContract, 3, 0, 0)
	loses("over", first, second, third)
	s.stands(t, domain, v1alpha1.ReasonOverContract, 3, 0, 0)

	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Contract.ValidUntil = "2020-12-31" })
	s.stands(t, domain, v1alpha1.ReasonContractEnded, 3, 0, 0)
	if err := s.Delete(context.Background(), third); err != nil {
		t.Fatal(err)
	}
	s.stands(t, domain, v1alpha1.ReasonContractEnded, 3, 1, 0)
	loses("ended", first, second)
	anew := asked(s, "terzo", 0)
	s.create(t, anew)
	s.held(t, anew, v1alpha1.ReasonContractEnded, "")
	s.stands(t, domain, v1alpha1.ReasonContractEnded, 2, 0, 1)

	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.MailboxDefaults = nil })
	update(t, s, second, func(m *v1alpha1.Mailbox) { m.Spec.Quota = nil })
	s.waitFor(t, second, v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonQuotaNotGiven)
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Rows = map[string]admin.Mailbox{} })
	eventually(t, func() error {
		if row := s.row(t, second.Address()); row.AdmittedIn != s.ns+"/"+s.domain || row.QuotaBytes != 1<<30 {
			return fmt.Errorf("nobody gives it a quota, and its row is %+v", row)
		}
		return nil
	})
}

// A guest has its rows by passes of its own, which come when they come. Who has no row to get is not waited for.
func TestAnEngineWithANewLogIsToldWhenItsGuestsHaveTheirs(t *testing.T) {
	const guest, gone, deleted = "pec.ospite-rifatto.test", "pec.ospite-partito.test", "pec.ospite-cancellato.test"
	s := newSite(t, "nuovo-gestore", siteOptions{namespaces: []string{"ospite-rifatto", "ospite-estraneo"}, change: func(o *manager.Options) { o.StandIn = time.Hour }})
	host := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = []string{"ospite-rifatto"} })
	s.provide(t)
	hosted, box := s.hostedDomain("ospite-rifatto", guest), makeMailbox("ospite-rifatto", "sindaco", guest)
	s.create(t, host, hosted, box, password("ospite-rifatto", hashed))
	s.ready(t, host, hosted, box)
	leaving, left := s.hostedDomain("ospite-rifatto", deleted), makeMailbox("ospite-rifatto", "archivio", guest)
	leaving.Finalizers, left.Finalizers = []string{"ospite.test/kept"}, []string{"ospite.test/kept"}
	s.create(t, leaving, left)
	s.ready(t, leaving, left)
	for _, o := range []client.Object{leaving, left} { // whoever has the finalizer keeps them
		if err := s.Delete(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	refuses := func(refused map[string]string) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Refuses = refused })
	}
	loses := func() {
		s.pods.With(t, s.domain, func(e *apitest.Engine) {
			e.Rows, e.Recall, e.Incomplete = map[string]admin.Mailbox{}, admin.RecallSilent, true
			e.Domains = slices.DeleteFunc(e.Domains, func(d admin.Domain) bool { return d.Name == guest || d.Name == deleted })
		})
		update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.Holder.Name += " I" }) // a pass
		time.Sleep(3 * time.Second)
		s.isWhole(t, false)
	}

	update(t, s, hosted, func(d *v1alpha1.PECDomain) { d.Spec.Suspend = v1alpha1.SuspendReconciliation })
	loses()
	refuses(map[string]string{box.Address(): "not yet"})
	update(t, s, hosted, func(d *v1alpha1.PECDomain) { d.Spec.Suspend = "" })
	s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonEngineRefuses)
	time.Sleep(3 * time.Second)
	s.isWhole(t, false)

	// Nobody makes rows of these: one has no PECDomain where it is, and the other's is at another provider.
	s.create(t, makeMailbox("ospite-estraneo", "altro", guest))
	away := s.externalDomain(func(d *v1alpha1.PECDomain) { d.Namespace, d.Name = "ospite-rifatto", gone })
	s.create(t, away, makeMailbox("ospite-rifatto", "altro", gone))
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Domains = append(e.Domains, admin.Domain{Name: gone}) })
	refuses(nil)
	update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Holder.Name = "Mario Rossi" })
	s.ready(t, box)
	s.isWhole(t, true)
}

// heard waits until the operator knows what the engine of the site's domain says: of two answers the first may have been on its way.
func (s *site) heard(t *testing.T) {
	t.Helper()
	told := func() (n int) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) { n = e.Told })
		return n
	}
	before := told()
	eventually(t, func() error {
		if told() < before+2 {
			return errors.New("the operator does not ask the engine")
		}
		return nil
	})
}

// isWhole waits until the engine of the site's domain was told that its directory is whole, or fails if it was.
func (s *site) isWhole(t *testing.T, want bool) {
	t.Helper()
	var is bool
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) { is = !e.Incomplete })
		if is || !want {
			break
		}
	}
	if is != want {
		t.Errorf("the engine was told that its directory is whole: %v, want %v", is, want)
	}
}

func TestARegionsPool(t *testing.T) {
	pool := v1alpha1.Contract{Reference: "R-1", Standard: ptr.To(int32(3)), Massive: ptr.To(int32(1)), StorageGiB: ptr.To(int32(5)),
		AllowedNamespaces: []string{"comune-uno", "comune-due", "comune-rifiutato"}}
	s, region := contracted(t, "regione-liguria", pool, siteOptions{namespaces: []string{"comune-uno", "comune-due", "comune-estraneo", "comune-rifiutato"}})
	update(t, s, region, func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"comune-uno", "comune-due", "comune-estraneo"}
	})
	from := &v1alpha1.DomainReference{Name: s.domain, Namespace: s.ns}
	uno, due := s.hostedDomain("comune-uno", "pec.comune-uno.test"), s.hostedDomain("comune-due", "pec.comune-due.test")
	uno.Spec.Contract = &v1alpha1.Contract{From: from, Standard: ptr.To(int32(1))}
	due.Spec.Contract = &v1alpha1.Contract{From: from}
	s.create(t, uno, due, password("comune-uno", hashed), password("comune-due", hashed))
	s.ready(t, uno, due)

	// Two draw on it who may not: one whom it does not list, one whom it lists and its stack refuses. Both ask for all there is, long before.
	stranger, refused := s.hostedDomain("comune-estraneo", "pec.comune-estraneo.test"), s.hostedDomain("comune-rifiutato", "pec.comune-rifiutato.test")
	s.create(t, password("comune-estraneo", hashed))
	var early []*v1alpha1.Mailbox
	for _, d := range []*v1alpha1.PECDomain{stranger, refused} {
		d.Spec.Contract = &v1alpha1.Contract{From: from}
		s.create(t, d)
		c := s.waitFor(t, d, v1alpha1.ConditionContractHonoured, metav1.ConditionFalse, v1alpha1.ReasonPoolUnusable)
		if d == stranger && !strings.Contains(c.Message, `its owner adds "comune-estraneo" to its contract.allowedNamespaces`) {
			t.Errorf("the refusal does not say what to add: %q", c.Message)
		}
		for i := range 3 {
			m := makeMailbox(d.Namespace, fmt.Sprintf("prima%d", i), d.Name)
			m.Spec.RequestedAt = metav1.NewTime(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
			s.create(t, m)
			early = append(early, m)
		}
	}
	for _, m := range early[:3] {
		s.held(t, m, v1alpha1.ReasonPoolUnusable, "does not lend its contract to this namespace")
	}

	one, two, other := makeMailbox("comune-uno", "uno", uno.Name), makeMailbox("comune-uno", "due", uno.Name), makeMailbox("comune-due", "uno", due.Name)
	two.Spec.RequestedAt = metav1.NewTime(one.Spec.RequestedAt.Add(time.Hour))
	s.create(t, one, two, other)
	s.ready(t, one, other)
	s.held(t, two, v1alpha1.ReasonHeldByContract, "the part of pec.comune-uno.test in contract R-1: 1 of 1 Standard")
	s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 0, 1)
	s.stands(t, uno, v1alpha1.ReasonWithinContract, 1, 0, 1)
	s.stands(t, due, v1alpha1.ReasonWithinContract, 1, 0, 0)

	t.Run("a Massive mailbox waits for its grant", func(t *testing.T) {
		bulk := makeMailbox("comune-due", "avvisi", due.Name, func(m *v1alpha1.Mailbox) {
			m.Spec.Type = v1alpha1.MailboxMassive
			m.Spec.Massive = &v1alpha1.MassiveUse{Justification: "avvisi di pagamento a tutti", ExpectedMessagesPerMonth: ptr.To(int32(40_000))}
		})
		s.create(t, bulk)
		s.held(t, bulk, v1alpha1.ReasonMassiveNotGranted, "contract.massiveGrants")
		update(t, s, region, func(d *v1alpha1.PECDomain) {
			d.Spec.Contract.MassiveGrants = []v1alpha1.MassiveGrant{{Address: v1alpha1.EmailAddress(bulk.Address()), Protocol: "1/2026", Date: "2026-01-01", Approver: "M. Bianchi"}}
		})
		s.ready(t, bulk)
		if bulk.Status.AdmittedAs != v1alpha1.MailboxMassive {
			t.Errorf("it is admitted as %q", bulk.Status.AdmittedAs)
		}
	})
	t.Run("a quota that the contract cannot give leaves the mailbox as it is", func(t *testing.T) {
		update(t, s, other, func(m *v1alpha1.Mailbox) {
			m.Spec.Quota, m.Spec.Access = ptr.To(resource.MustParse("4Gi")), v1alpha1.AccessReadOnly
		})
		s.held(t, other, v1alpha1.ReasonHeldByContract, "3 GiB of 5 GiB quota in use; this request is number 1")
		if row := s.row(t, other.Address()); row.QuotaBytes != 1<<30 || row.Access != admin.AccessReadOnly || other.Status.Quota != "1Gi" {
			t.Errorf("the row is %+v, the status says %s", row, other.Status.Quota)
		}
		update(t, s, region, func(d *v1alpha1.PECDomain) { d.Spec.Contract.StorageGiB = ptr.To(int32(6)) })
		s.ready(t, other)
		if row := s.row(t, other.Address()); row.QuotaBytes != 4<<30 {
			t.Errorf("the row is %+v", row)
		}
	})
	t.Run("who is taken off the list gets nothing more, and what it has counts", func(t *testing.T) {
		s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 0, 1)
		update(t, s, region, func(d *v1alpha1.PECDomain) {
			d.Spec.Contract.AllowedNamespaces = []string{"comune-due"}
		})
		s.waitFor(t, uno, v1alpha1.ConditionContractHonoured, metav1.ConditionFalse, v1alpha1.ReasonPoolUnusable)
		s.held(t, two, v1alpha1.ReasonPoolUnusable, "does not lend its contract to this namespace")
		update(t, s, one, func(m *v1alpha1.Mailbox) { m.Spec.Holder.Name += "." })
		s.ready(t, one, uno)
		if row := s.row(t, one.Address()); row.AdmittedIn != s.ns+"/"+s.domain || row.Access != admin.AccessFull {
			t.Errorf("the row is %+v", row)
		}
		s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 0, 0)
	})
	t.Run("who brings mailboxes along that another contract did not count has them counted by nobody before he is listed", func(t *testing.T) {
		update(t, s, stranger, func(d *v1alpha1.PECDomain) { d.Spec.Contract = nil })
		s.ready(t, early[0])
		update(t, s, stranger, func(d *v1alpha1.PECDomain) { d.Spec.Contract = &v1alpha1.Contract{From: from} })
		s.waitFor(t, stranger, v1alpha1.ConditionContractHonoured, metav1.ConditionFalse, v1alpha1.ReasonPoolUnusable)
		update(t, s, early[0], func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessReadOnly })
		countedByNobody := func() error {
			if row := s.row(t, early[0].Address()); row.Access != admin.AccessReadOnly || row.AdmittedIn != "" {
				return fmt.Errorf("the row is %+v", row)
			}
			return nil
		}
		eventually(t, countedByNobody)
		s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 0, 0)
		s.pods.With(t, s.domain, func(e *apitest.Engine) { delete(e.Rows, early[0].Address()) })
		eventually(t, countedByNobody)
		s.stands(t, region, v1alpha1.ReasonWithinContract, 2, 0, 0)
		update(t, s, region, func(d *v1alpha1.PECDomain) {
			d.Spec.Contract.AllowedNamespaces = []string{"comune-uno", "comune-due", "comune-estraneo"}
		})
		s.stands(t, stranger, v1alpha1.ReasonWithinContract, 3, 0, 0)
		update(t, s, region, func(d *v1alpha1.PECDomain) { d.Spec.Contract.AllowedNamespaces = []string{"comune-uno", "comune-due"} })
		s.waitFor(t, uno, v1alpha1.ConditionContractHonoured, metav1.ConditionTrue, v1alpha1.ReasonWithinContract)
	})
	t.Run("a pool that is not there is said, and keeps nobody out who is in", func(t *testing.T) {
		update(t, s, uno, func(d *v1alpha1.PECDomain) { d.Spec.Contract.From.Name = "pec.nessuno.test" })
		s.waitFor(t, uno, v1alpha1.ConditionContractHonoured, metav1.ConditionFalse, v1alpha1.ReasonPoolUnusable)
		s.held(t, two, v1alpha1.ReasonPoolUnusable, "correct contract.from")
		s.ready(t, one, uno)
	})
}

// Who claims a domain that is another's has no part in a contract: neither his numbers nor his grants count for the other's mailboxes.
func TestTheLoserOfADomainSettlesNothingForItsWinner(t *testing.T) {
	s, region := contracted(t, "regione-molise", v1alpha1.Contract{Reference: "R-3", Standard: ptr.To(int32(9)), Massive: ptr.To(int32(1)),
		AllowedNamespaces: []string{"comune-vero", "comune-falso"}},
		siteOptions{namespaces: []string{"comune-vero", "comune-falso"}})
	update(t, s, region, func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"comune-vero", "comune-falso"}
	})
	from := &v1alpha1.DomainReference{Name: s.domain, Namespace: s.ns}
	winner := s.hostedDomain("comune-vero", "pec.comune-vero.test")
	winner.Spec.Contract = &v1alpha1.Contract{From: from, Standard: ptr.To(int32(1))}
	s.create(t, winner, password("comune-vero", hashed))
	s.ready(t, winner)
	time.Sleep(1100 * time.Millisecond) // creation times have whole seconds
	first := makeMailbox("comune-vero", "primo", winner.Name)
	bulk := makeMailbox("comune-vero", "avvisi", winner.Name, func(m *v1alpha1.Mailbox) {
		m.Spec.Type = v1alpha1.MailboxMassive
		m.Spec.Massive = &v1alpha1.MassiveUse{Justification: "avvisi di pagamento a tutti", ExpectedMessagesPerMonth: ptr.To(int32(40_000))}
	})
	loser := s.hostedDomain("comune-falso", winner.Name)
	loser.Spec.Contract = &v1alpha1.Contract{From: from, Standard: ptr.To(int32(0)), MassiveGrants: []v1alpha1.MassiveGrant{
		{Address: v1alpha1.EmailAddress(bulk.Address()), Protocol: "1/2026", Date: "2026-01-01", Approver: "M. Bianchi"}}}
	s.create(t, loser)
	s.waitFor(t, loser, v1alpha1.ConditionDomainConflict, metav1.ConditionTrue, v1alpha1.ReasonDomainClaimed)
	s.create(t, first, bulk)
	s.ready(t, first)
	s.held(t, bulk, v1alpha1.ReasonMassiveNotGranted, "contract.massiveGrants")
	s.stands(t, winner, v1alpha1.ReasonWithinContract, 1, 0, 1)
	second := makeMailbox("comune-vero", "secondo", winner.Name)
	s.create(t, second)
	s.held(t, second, v1alpha1.ReasonHeldByContract, "1 of 1 Standard")
}

func TestWhatTheHolderMayDo(t *testing.T) {
	s := newSite(t, "accesso", siteOptions{change: func(o *manager.Options) { o.UsageEvery = time.Second }})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.MailboxDefaults = &v1alpha1.MailboxDefaults{Quota: ptr.To(resource.MustParse("3Gi"))}
	})
	s.provide(t)
	box := makeMailbox(s.ns, "ufficio_tributi", s.domain, func(m *v1alpha1.Mailbox) {
		m.Spec.Quota, m.Spec.Credentials.FirstLogin = nil, v1alpha1.FirstLoginMustChange
	})
	s.create(t, domain, password(s.ns, hashed), box)
	s.ready(t, box)
	is := func(want v1alpha1.EffectiveAccess, access admin.Access, refusal admin.Refusal) {
		t.Helper()
		eventually(t, func() error {
			s.get(t, s.ns, box.Name, box)
			row := s.row(t, box.Address())
			if got := box.Status.EffectiveAccess; got == nil || *got != want || row.Access != access || row.SendingRefused != refusal {
				return fmt.Errorf("access is %+v, the row has %s %q", got, row.Access, row.SendingRefused)
			}
			return nil
		})
	}
	firstLogin := v1alpha1.EffectiveAccess{Access: v1alpha1.LevelReceiveOnly, Reason: v1alpha1.RuleFirstLogin}
	is(firstLogin, admin.AccessFull, admin.RefusalFirstLogin)
	if row := s.row(t, box.Address()); row.QuotaBytes != 3<<30 || box.Status.Quota != "3Gi" {
		t.Errorf("the default quota is %d in the row and %q in the status", row.QuotaBytes, box.Status.Quota)
	}
	s.waitFor(t, box, v1alpha1.ConditionAdmitted, metav1.ConditionTrue, v1alpha1.ReasonNoContract)

	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		row := e.Rows[box.Address()]
		row.PasswordChangedByHolder = true
		e.Rows[box.Address()] = row
	})
	update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Holder.Name += "." }) // now, not at the next poll
	full := v1alpha1.EffectiveAccess{Access: v1alpha1.LevelFull, Reason: v1alpha1.RuleSpec}
	is(full, admin.AccessFull, "")

	moving := &v1alpha1.MailboxMigration{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "trasloco"}, Spec: v1alpha1.MailboxMigrationSpec{
		Source: v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromDomain, DomainRef: &v1alpha1.LocalReference{Name: s.domain}},
		Target: v1alpha1.MigrationTarget{DomainRef: v1alpha1.LocalReference{Name: "pec.nuovo.test"}},
		Mailboxes: []v1alpha1.MigratedMailbox{{Address: v1alpha1.EmailAddress(box.Address()), SourceCredentials: v1alpha1.SecretKeyReference{Name: "password"},
			Request: v1alpha1.MigrationRequest{Protocol: "1/2026", Date: "2026-01-01"}}},
		Calendar: v1alpha1.MigrationCalendar{TimeZone: "Europe/Rome", Phases: []v1alpha1.MigrationPhase{
			{Name: v1alpha1.PhaseBlockSending, At: "2026-04-28T08:00:00"}, {Name: v1alpha1.PhaseOpenNew, At: "2026-04-28T18:00:00"}}},
	}}
	s.create(t, moving)
	began, ends := metav1.NewTime(time.Date(2026, 4, 28, 6, 0, 0, 0, time.UTC)), metav1.NewTime(time.Date(2026, 5, 9, 7, 0, 0, 0, time.UTC))
	stand := func(name v1alpha1.MigrationPhaseName, state v1alpha1.MigrationPhaseState) {
		t.Helper()
		eventually(t, func() error {
			s.get(t, s.ns, moving.Name, moving)
			moving.Status.Phases = slices.DeleteFunc(moving.Status.Phases, func(p v1alpha1.MigrationPhaseStatus) bool { return p.Name == name })
			moving.Status.Phases = append(moving.Status.Phases, v1alpha1.MigrationPhaseStatus{Name: name, At: "2026-04-28T08:00:00", StartsAt: began, EndsAt: &ends, State: state})
			return s.Status().Update(context.Background(), moving)
		})
	}
	t.Run("a freeze holds what people change of a listed mailbox, not what locks it, and then it is done", func(t *testing.T) {
		holds := func(bytes int64) {
			s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Usage[box.Address()] = admin.Usage{Bytes: bytes} })
		}
		holds(2900 << 20)
		s.waitFor(t, box, v1alpha1.ConditionQuotaHealthy, metav1.ConditionFalse, v1alpha1.ReasonNearQuota)
		stand(v1alpha1.PhaseFreeze, v1alpha1.PhaseRunning)
		update(t, s, box, func(m *v1alpha1.Mailbox) {
			m.Spec.Quota, m.Spec.Access = ptr.To(resource.MustParse("5Gi")), v1alpha1.AccessReadOnly
		})
		c := s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonFrozen)
		if !strings.Contains(c.Message, "trasloco") || !strings.Contains(c.Message, "2026-05-09 09:00 CEST") {
			t.Errorf("it says %q", c.Message)
		}
		if row := s.row(t, box.Address()); row.QuotaBytes != 3<<30 || row.Access != admin.AccessReadOnly {
			t.Errorf("the row has %d bytes and is %s", row.QuotaBytes, row.Access)
		}
		// It is judged by the quota that it has, and goes on being looked at.
		if c := meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionQuotaHealthy); c == nil || c.Reason != v1alpha1.ReasonNearQuota {
			t.Errorf("that it is nearly full is not said any more: %+v", c)
		}
		holds(3 << 30)
		s.waitFor(t, box, v1alpha1.ConditionQuotaHealthy, metav1.ConditionFalse, v1alpha1.ReasonOverQuota)
		s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonFrozen)
		holds(0)
		s.pods.With(t, s.domain, func(e *apitest.Engine) { delete(e.Rows, box.Address()) }) // there is nothing to hold then
		s.ready(t, box)
		if row := s.row(t, box.Address()); row.QuotaBytes != 5<<30 || row.Access != admin.AccessReadOnly || row.FrozenUntil.IsZero() {
			t.Errorf("the row that was lost is %+v", row)
		}
		if err := s.Delete(context.Background(), box); err != nil {
			t.Fatal(err)
		}
		d := &v1alpha1.PECDomain{}
		eventually(t, func() error {
			s.get(t, s.ns, s.domain, d)
			if c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionDirectoryInSync); !strings.Contains(c.Message, box.Address()+" is deleted and stays open") {
				return fmt.Errorf("the domain says %q", c.Message)
			}
			return nil
		})
		if row := s.row(t, box.Address()); row.Access == admin.AccessClosed {
			t.Error("a mailbox was closed in the freeze")
		}
		box = makeMailbox(s.ns, "ufficio_tributi", s.domain)
		box.Spec.Quota = ptr.To(resource.MustParse("6Gi"))
		s.create(t, box)
		s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonFrozen)
		stand(v1alpha1.PhaseFreeze, v1alpha1.PhaseDone)
		s.ready(t, box)
		if row := s.row(t, box.Address()); row.QuotaBytes != 6<<30 || row.Access != admin.AccessFull {
			t.Errorf("after the freeze the row has %d bytes and is %s", row.QuotaBytes, row.Access)
		}
		update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Quota = nil })
	})
	for _, c := range []struct {
		phase   v1alpha1.MigrationPhaseName
		want    v1alpha1.EffectiveAccess
		access  admin.Access
		refusal admin.Refusal
	}{
		{v1alpha1.PhaseBlockSending, v1alpha1.EffectiveAccess{Access: v1alpha1.LevelReceiveOnly, Reason: v1alpha1.RuleBlockSending, Migration: "trasloco"}, admin.AccessFull, admin.RefusalMigration},
		{v1alpha1.PhaseOldReadOnly, v1alpha1.EffectiveAccess{Access: v1alpha1.LevelReadOnly, Reason: v1alpha1.RuleOldReadOnly, Migration: "trasloco"}, admin.AccessReadOnly, ""},
	} {
		stand(c.phase, v1alpha1.PhaseRunning)
		is(c.want, c.access, c.refusal)
	}
	if err := s.Delete(context.Background(), moving); err != nil {
		t.Fatal(err)
	}
	is(full, admin.AccessFull, "")

	t.Run("what it holds is shown", func(t *testing.T) {
		full := makeMailbox(s.ns, "quasi-piena", s.domain)
		s.create(t, full)
		s.ready(t, full)
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Usage[full.Address()] = admin.Usage{Bytes: 900 << 20, Messages: 12} })
		s.restart() // it looks again
		c := s.waitFor(t, full, v1alpha1.ConditionQuotaHealthy, metav1.ConditionFalse, v1alpha1.ReasonNearQuota)
		if u := full.Status.Usage; *u.Percent != 87 || *u.Messages != 12 || !strings.Contains(c.Message, "1 GiB") {
			t.Errorf("usage %d %%, %d messages: %s", *u.Percent, *u.Messages, c.Message)
		}
		eventually(t, func() error {
			s.get(t, s.ns, s.domain, domain)
			if n := domain.Status.Mailboxes.NearQuota; n == nil || *n != 1 {
				return errors.New("the domain does not count the mailbox that is near its quota")
			}
			return nil
		})
	})
	t.Run("a quota that nobody gives is asked for", func(t *testing.T) {
		update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.MailboxDefaults = nil })
		s.waitFor(t, box, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonQuotaNotGiven)
		if row := s.row(t, box.Address()); row.QuotaBytes != 3<<30 || row.Access != admin.AccessFull {
			t.Errorf("the row is %+v", row)
		}
		fresh := makeMailbox(s.ns, "senza-misura", s.domain, func(m *v1alpha1.Mailbox) { m.Spec.Quota = nil })
		s.create(t, fresh)
		s.waitFor(t, fresh, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonQuotaNotGiven)
		if row := s.row(t, fresh.Address()); row.Address != "" {
			t.Errorf("a mailbox without a quota was made: %+v", row)
		}

		// What else its spec says is carried out: its holder has left.
		update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessSuspended })
		is(v1alpha1.EffectiveAccess{Access: v1alpha1.LevelSuspended, Reason: v1alpha1.RuleSpec}, admin.AccessSuspended, "")
		if box.Status.Quota != "3Gi" {
			t.Errorf("its quota is %q", box.Status.Quota)
		}
	})
}

func TestAnAddressBelongsToItsNamespace(t *testing.T) {
	s := newSite(t, "lapide", siteOptions{namespaces: []string{"lapide-uno", "lapide-due"}, peer: deadPeer(t)})
	host := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"lapide-uno", "lapide-due"}
	})
	s.provide(t)
	former, box := s.hostedDomain("lapide-uno", "pec.lapide-comune.test"), makeMailbox("lapide-uno", "sindaco", "pec.lapide-comune.test")
	s.create(t, host, former, box, password("lapide-uno", hashed), password("lapide-due", hashed))
	s.ready(t, host, former, box)
	for _, o := range []client.Object{box, former} {
		if err := s.Delete(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	later, claimed := s.hostedDomain("lapide-due", former.Name), makeMailbox("lapide-due", "sindaco", former.Name)
	s.create(t, later, claimed)
	c := s.waitFor(t, claimed, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonAddressTaken)
	if !strings.Contains(c.Message, "namespace lapide-uno") {
		t.Errorf("message is %q", c.Message)
	}
	eventually(t, func() error {
		if row := s.row(t, box.Address()); row.Access != admin.AccessClosed || row.Owner.Namespace != "lapide-uno" {
			return fmt.Errorf("the row is %+v", row)
		}
		return nil
	})
	fresh := makeMailbox("lapide-due", "segretario", former.Name)
	s.create(t, fresh)
	s.ready(t, fresh)

	// A stack that was built anew knows neither; without a contract too.
	closed := s.row(t, box.Address())
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Rows, e.Recall = map[string]admin.Mailbox{}, admin.RecallUnderWay })
	s.heard(t)
	s.request(t, claimed, "built anew")
	s.waitFor(t, claimed, v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonStackRecalling)
	eventually(t, func() error {
		if row := s.row(t, fresh.Address()); row.Access != admin.AccessFull {
			return fmt.Errorf("of what was provisioned the row is %+v", row)
		}
		return nil
	})
	if row := s.row(t, claimed.Address()); row.Address != "" {
		t.Errorf("what may be another body's is placed: %+v", row)
	}
	s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Rows[closed.Address], e.Recall = closed, admin.RecallDone })
	s.waitFor(t, claimed, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonAddressTaken)
}
