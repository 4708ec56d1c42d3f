package manager_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
)

// fewWrites is the most that the operator writes to a new guest's domain until it and its mailbox are Ready and counted.
const fewWrites = 5

// TestManyGuests has one stack serve the domains of a region's municipalities, each with a mailbox in a namespace of its own: half with a
// contract of their own, half with a share of the region's. What one costs does not grow with how many there are.
func TestManyGuests(t *testing.T) {
	namespaces := make([]string, guests)
	for i := range namespaces {
		namespaces[i] = fmt.Sprintf("ospitato-%03d", i)
	}
	empty := memory()
	s := newSite(t, "ospitante", siteOptions{namespaces: namespaces, change: func(o *manager.Options) { o.ServiceEvery = time.Hour }})
	host := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = namespaces
		d.Spec.Contract = &v1alpha1.Contract{Reference: "R-1", Standard: ptr.To(int32(guests/2 + 1)), AllowedNamespaces: namespaces}
	})
	s.provide(t)
	s.create(t, host, password(s.ns, hashed))
	s.ready(t, host)
	idle := memory()

	const first = "first"
	domains, boxes := make([]*v1alpha1.PECDomain, guests), make([]*v1alpha1.Mailbox, guests)
	began, domainPasses, passes := time.Now(), passesOver(t, "PECDomain"), passesOver(t, "Mailbox")
	each(t, guests, func(i int) error {
		d := s.hostedDomain(namespaces[i], "pec."+namespaces[i]+".test")
		d.Annotations = map[string]string{v1alpha1.ReconcileRequestedAnnotation: first}
		d.Spec.MailboxDefaults = &v1alpha1.MailboxDefaults{Quota: ptr.To(resource.MustParse("2Gi"))}
		d.Spec.Contract = &v1alpha1.Contract{Standard: ptr.To(int32(1))}
		if i%2 == 0 {
			d.Spec.Contract.Reference = fmt.Sprintf("C-%d", i)
		} else {
			d.Spec.Contract.From = &v1alpha1.DomainReference{Namespace: s.ns, Name: s.domain}
		}
		domains[i], boxes[i] = d, makeMailbox(d.Namespace, "protocollo", d.Name, func(m *v1alpha1.Mailbox) { m.Spec.Quota = nil })
		return errors.Join(s.Create(context.Background(), password(d.Namespace, hashed)), s.Create(context.Background(), d))
	})
	made := time.Since(began)
	for i := range guests {
		s.ready(t, domains[i])
	}
	t.Logf("%d domains made in %.1f s, Ready after %.1f s, %d passes", guests, made.Seconds(), time.Since(began).Seconds(), passesOver(t, "PECDomain")-domainPasses)
	each(t, guests, func(i int) error { return s.Create(context.Background(), boxes[i]) })
	for i := range guests {
		s.ready(t, boxes[i])
	}
	t.Logf("mailboxes Ready after %.1f s: %d passes over domains, %d over mailboxes", time.Since(began).Seconds(),
		passesOver(t, "PECDomain")-domainPasses, passesOver(t, "Mailbox")-passes)
	for i := range guests {
		s.stands(t, domains[i], v1alpha1.ReasonWithinContract, 1, 0, 0)
	}
	s.stands(t, host, v1alpha1.ReasonWithinContract, guests/2, 0, 0)
	t.Logf("and counted after %.1f s", time.Since(began).Seconds())
	writes := map[string]int{}
	for _, call := range s.writes.Take() {
		writes[path.Base(path.Dir(call))]++
		if !strings.Contains(call, s.domain) && strings.Contains(call, "/pecdomains/") {
			writes["domains"]++
		}
	}
	for i := range guests {
		if n := writes[boxes[i].Name]; n != 1 {
			t.Errorf("%d writes for the new mailbox %s, want one", n, boxes[i].Name)
		}
		if n := writes[domains[i].Name]; n > fewWrites {
			t.Errorf("%d writes for the new domain %s, want at most %d", n, domains[i].Name, fewWrites)
		}
	}
	t.Logf("%d writes to the domains, %d to their host", writes["domains"], writes[s.domain])

	s.settle(t)
	full := memory()
	t.Logf("in this process, API machinery and stand-ins for the pods included: %d KiB for a namespace, %d KiB for what is in it", (idle-empty)/guests/1024, (full-idle)/guests/1024)
	var puts int
	s.pods.With(t, s.domain, func(e *apitest.Engine) { puts = e.Puts })
	domainPasses, passes = passesOver(t, "PECDomain"), passesOver(t, "Mailbox")
	rounds, cpu := 0, cpuTime()
	for began := time.Now(); time.Since(began) < guestsQuietFor; rounds += 2 {
		for _, request := range []string{"", first} {
			patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.ReconcileRequestedAnnotation, request))
			each(t, guests, func(i int) error { return s.Patch(context.Background(), domains[i].DeepCopy(), patch) })
			time.Sleep(time.Second)
		}
	}
	domainPasses, passes = passesOver(t, "PECDomain")-domainPasses, passesOver(t, "Mailbox")-passes
	t.Logf("quiet: %d rounds, %d passes over domains, %d over mailboxes, %.1f s of CPU", rounds, domainPasses, passes, (cpuTime() - cpu).Seconds())
	if domainPasses < guests {
		t.Errorf("%d passes over domains in %d rounds only: the quiet is that of an operator that does not look", domainPasses, rounds)
	}
	if calls := s.writes.Take(); len(calls) > 0 {
		t.Errorf("%d rounds of passes over quiet domains wrote %d times, first %q", rounds, len(calls), calls[0])
	}
	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		if e.Puts != puts {
			t.Errorf("the same rounds wrote %d times to the engine", e.Puts-puts)
		}
	})

	t.Run("what the host counts of its own wakes no guest", func(t *testing.T) {
		before := passesOver(t, "PECDomain")
		own := makeMailbox(s.ns, "protocollo", s.domain)
		s.create(t, own)
		s.stands(t, host, v1alpha1.ReasonWithinContract, guests/2+1, 0, 0)
		s.ready(t, own)
		if n := passesOver(t, "PECDomain") - before; n >= guests { // each is looked at every 15 s as it is
			t.Errorf("%d passes over domains for a mailbox of the host's", n)
		}
	})
}

// cpuTime is what this process has computed for so long.
func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// memory is what this process holds.
func memory() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse) //nolint:gosec // less than an int holds
}
