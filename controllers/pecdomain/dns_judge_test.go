package pecdomain

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/peer"
)

func TestEpochOf(t *testing.T) {
	alone, together, deputy, watching := peer.Role{Acts: true}, peer.Role{Acts: true, InTouch: true}, peer.Role{Acts: true, Deputy: true}, peer.Role{InTouch: true, Actor: "a"}
	for name, c := range map[string]struct {
		role      peer.Role
		own, seen uint64
		want      uint64
	}{
		"the first write is of epoch one":                  {together, 0, 0, 1},
		"in touch, a later epoch is followed":              {together, 1, 3, 3},
		"alone, a later epoch is somebody who stood in":    {alone, 1, 2, 1},
		"alone and without memory, what stands is one's":   {alone, 0, 2, 2},
		"who stands in begins from what stands":            {deputy, 1, 2, 2},
		"who watches follows":                              {watching, 1, 2, 2},
		"a text that is lost does not bring an epoch back": {together, 4, 0, 4},
	} {
		t.Run(name, func(t *testing.T) {
			if got := epochOf(c.role, c.own, c.seen); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

var (
	wantSet  = dns.NewSet(dns.MX{Preference: 10, Host: "mx-a.gestore.test"}, dns.MX{Preference: 20, Host: "mx-b.gestore.test"})
	otherSet = dns.NewSet(dns.MX{Preference: 10, Host: "mx.altro.test"})
	owner    = dns.Owner{Operator: "insieme", Object: "ns/pec.ente.test", Epoch: 1}
)

// seenAs is a round in which one server answers with a set and an owner text.
func seenAs(set dns.Set, text string) dns.Observation {
	v := dns.View{Server: "ns.test.", Address: "192.0.2.1", MX: set, TTL: 3600, Serial: 1}
	if text != "" {
		v.Owner = []string{text}
	}
	return dns.Observation{Domain: "pec.ente.test.", Zone: "ente.test.", Views: []dns.View{v}, At: now}
}

func TestJudgeDNS(t *testing.T) {
	mark := owner.Text(wantSet)
	writer, watcher, deputy := peer.Role{Acts: true, InTouch: true}, peer.Role{InTouch: true, Actor: "a"}, peer.Role{Acts: true, Deputy: true}
	broken := trouble{v1alpha1.ReasonTSIGKeyRefused, "the key is refused"}
	type want struct {
		status  metav1.ConditionStatus
		reason  string
		course  course
		kind    dns.Kind // of the write; "" is none
		request bool
		says    string
	}
	isFalse, isTrue := metav1.ConditionFalse, metav1.ConditionTrue
	for name, c := range map[string]struct {
		seen   dns.Observation
		change func(*outlook)
		want   want
	}{
		"a free name is claimed":                                    {seenAs(nil, ""), nil, want{isFalse, "MXWriting", courseWaits, dns.Claiming, false, "free name"}},
		"a free name waits for mail hosts":                          {seenAs(nil, ""), func(o *outlook) { o.unfit = "mx-a has no address" }, want{isFalse, "MXWriting", courseWaits, "", false, "mx-a has no address"}},
		"a set that drifted is put back whatever the mail hosts do": {seenAs(wantSet[:1], owner.Text(wantSet)), func(o *outlook) { o.unfit = "mx-a is silent" }, want{isFalse, "MXWriting", courseWaits, dns.Restoring, false, ""}},
		"what is gone is put back":                                  {seenAs(nil, mark), nil, want{isFalse, "MXWriting", courseWaits, dns.Reviving, false, ""}},
		"ours is right":                                             {seenAs(wantSet, mark), nil, want{isTrue, "MXOurs", courseOn, "", false, ""}},
		"ours without a mark is right, and marked":                  {seenAs(wantSet, ""), nil, want{isTrue, "MXOurs", courseOn, dns.Adopting, false, ""}},
		"the other site leaves the mark to the first":               {seenAs(wantSet, ""), func(o *outlook) { o.role = watcher }, want{isTrue, "MXOurs", courseOn, "", false, ""}},
		"a foreign set":                                             {seenAs(otherSet, ""), nil, want{isFalse, "ForeignMX", courseStalls, "", true, "mx.altro.test"}},
		"a foreign set under our mark":                              {seenAs(otherSet, mark), nil, want{isFalse, "ForeignMX", courseStalls, "", true, ""}},
		"a mixed set":                                               {seenAs(dns.NewSet(wantSet[0], otherSet[0]), mark), nil, want{isFalse, "HybridMX", courseStalls, "", true, ""}},
		"another operator's mark":                                   {seenAs(wantSet, dns.Owner{Operator: "altri", Object: "x/y", Epoch: 9}.Text(wantSet)), nil, want{isFalse, "OwnedByOther", courseStalls, "", true, ""}},
		"the other site stood in for this one":                      {seenAs(wantSet, dns.Owner{Operator: owner.Operator, Object: owner.Object, Epoch: 2}.Text(wantSet)), func(o *outlook) { o.role.InTouch = false }, want{isFalse, "OwnedByOther", courseStalls, "", true, "taken over"}},
		"the other site watches":                                    {seenAs(nil, ""), func(o *outlook) { o.role = watcher }, want{isFalse, "OtherSiteWrites", courseWaits, "", false, "site a writes"}},
		"who stands in raises the epoch":                            {seenAs(nil, mark), func(o *outlook) { o.role = deputy }, want{isFalse, "MXWriting", courseWaits, dns.Reviving, false, ""}},
		"the sites see two things":                                  {seenAs(nil, ""), func(o *outlook) { o.otherSite = "the other site sees [x]" }, want{isFalse, "MXWriting", courseWaits, "", false, "the other site sees [x]"}},
		"a broken key falls back to asking":                         {seenAs(nil, ""), func(o *outlook) { o.trouble = broken }, want{isFalse, "RecordRequested", courseAsks, "", true, ""}},
		"a broken key knows its own mark":                           {seenAs(nil, mark), func(o *outlook) { o.trouble = broken }, want{isFalse, "RecordRequested", courseAsks, "", true, "the owner TXT is ours"}},
		"a key that may have been mended is tried":                  {seenAs(nil, ""), func(o *outlook) { o.trouble, o.retry = broken, true }, want{isFalse, "RecordRequested", courseAsks, dns.Claiming, true, ""}},
		"a broken key keeps its hands off a foreign set":            {seenAs(otherSet, ""), func(o *outlook) { o.trouble, o.retry = broken, true }, want{isFalse, "ForeignMX", courseStalls, "", true, ""}},
		"VerifyOnly asks":                                           {seenAs(nil, ""), func(o *outlook) { o.mode, o.want.Owner = dns.VerifyOnly, dns.Owner{} }, want{isFalse, "RecordRequested", courseAsks, "", true, ""}},
		"VerifyOnly asks until the deadline":                        {seenAs(nil, ""), func(o *outlook) { o.mode, o.deadline = dns.VerifyOnly, now.Add(-time.Hour) }, want{isFalse, "RecordOverdue", courseStalls, "", true, "deadline"}},
		"VerifyOnly is content with the set alone":                  {seenAs(wantSet, ""), func(o *outlook) { o.mode, o.want.Owner = dns.VerifyOnly, dns.Owner{} }, want{isTrue, "MXOurs", courseOn, "", false, ""}},
		"VerifyOnly words an approved change": {seenAs(otherSet, ""), func(o *outlook) {
			o.mode, o.takeover = dns.VerifyOnly, dns.Takeover{Expected: otherSet, ApprovedBy: "prot. 1"}
		}, want{isFalse, "RecordRequested", courseAsks, "", true, ""}},
		"one silent round changes nothing": {dns.Observation{Fault: dns.Timeout, Domain: "pec.ente.test."}, func(o *outlook) { o.settled = dns.Settled{State: dns.Ours} }, want{}},
		"silence for long is unknown":      {dns.Observation{Fault: dns.Timeout, Domain: "pec.ente.test."}, func(o *outlook) { o.settled = dns.Settled{State: dns.Unverifiable, Unknown: true, Sentence: "silence"} }, want{metav1.ConditionUnknown, "Unverifiable", courseOn, "", false, "silence"}},
	} {
		t.Run(name, func(t *testing.T) {
			desired := dns.Desired{Domain: "pec.ente.test", MX: wantSet, TTL: 3600, Owner: owner}
			o := outlook{want: desired, mode: dns.UpdateMode, role: writer, deadline: now.Add(time.Hour), now: now}
			if c.change != nil {
				c.change(&o)
			}
			o.verdict = dns.Classify(o.want, c.seen)
			if o.settled.State == "" {
				o.settled = dns.Settled{State: o.verdict.State, Sentence: o.verdict.Sentence}
			}
			j := o.judgeAndRetry()
			if j.keep != (c.want == want{}) {
				t.Fatalf("keep is %v", j.keep)
			}
			got := want{j.status, j.reason, j.course, "", j.ask, c.want.says}
			if j.do != nil {
				got.kind = j.do.Kind
			}
			if got != c.want || !strings.Contains(j.message, c.want.says) {
				t.Errorf("got %+v: %s\nwant %+v", got, j.message, c.want)
			}
			if j.do != nil && o.role.Deputy && !strings.Contains(j.do.Will.Owner, "epoch=2;") {
				t.Errorf("the owner text is %s", j.do.Will.Owner)
			}
		})
	}
}

func TestTroubleOf(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"nothing failed":                {nil, ""},
		"the records had changed":       {fmt.Errorf("swapping: %w", dns.ErrChanged), ""},
		"the ledger refused":            {fmt.Errorf("counting: %w", refusal{dns.Refusal{Sentence: "wait"}}), ""},
		"the clocks differ":             {fmt.Errorf("claiming: %w", dns.ErrClock), v1alpha1.ReasonClocksDiffer},
		"the key is unknown":            {fmt.Errorf("claiming: %w", dns.ErrKey), v1alpha1.ReasonTSIGKeyRefused},
		"the key has no rights":         {fmt.Errorf("claiming: %w", dns.ErrRights), v1alpha1.ReasonUpdateRefused},
		"the server is not the primary": {fmt.Errorf("claiming: %w", dns.ErrZone), v1alpha1.ReasonUpdateRefused},
		"nobody answers":                {errors.New("connection refused"), v1alpha1.ReasonUpdateFailed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := troubleOf(c.err).reason; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAgain(t *testing.T) {
	v := &DNSView{Interval: 24 * time.Hour}
	for name, c := range map[string]struct {
		settled, right, waits bool
		age, want             time.Duration
	}{
		"what is right is looked at once a day":           {true, true, false, 0, 24 * time.Hour},
		"what was right is confirmed soon":                {false, true, false, 0, 5 * time.Minute},
		"what became wrong now is looked at at once":      {true, false, false, 0, 5 * time.Second},
		"what has been wrong for ten minutes, in five":    {true, false, false, 10 * time.Minute, 5 * time.Minute},
		"what has been wrong for a week, within the hour": {true, false, false, 7 * 24 * time.Hour, time.Hour},
		"and where mail waits for it, in five minutes":    {true, false, true, 7 * 24 * time.Hour, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := v.again(c.settled, c.right, c.waits, c.age); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPublishedPreferences(t *testing.T) {
	d := &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{Provider: v1alpha1.DomainProvider{External: &v1alpha1.ExternalProvider{
		MailExchangers: []v1alpha1.Hostname{"mx.altro.test", "mx2.altro.test"}}}}}
	d.Name = "pec.ente.test"
	mx := func(first, second uint16) dns.Set {
		return dns.NewSet(dns.MX{Preference: first, Host: "mx.altro.test"}, dns.MX{Preference: second, Host: "mx2.altro.test"})
	}
	for name, c := range map[string]struct {
		known dns.Providers
		seen  dns.Observation
		want  dns.Set
	}{
		"nothing says them: in the letter's order": {nil, dns.Observation{}, mx(10, 20)},
		"the table says them":                      {dns.Providers{"altro": mx(5, 7)}, seenAs(mx(1, 1), ""), mx(5, 7)},
		"the records say them":                     {nil, seenAs(mx(1, 1), ""), mx(1, 1)},
		"a stranger's record says nothing":         {nil, seenAs(otherSet[:0:0], ""), mx(10, 20)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := targetOf(d, d).published(c.known, c.seen).want.MX; !got.Equal(c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestJudgeMailHosts(t *testing.T) {
	at := netip.MustParseAddr("198.51.100.1")
	host := func(name string, err error, addresses ...netip.Addr) dns.MailHost {
		return dns.MailHost{Host: dns.Host{Name: name, Addresses: addresses, Detail: "not there"}, Greetings: map[netip.Addr]error{at: err}}
	}
	for name, c := range map[string]struct {
		hosts []dns.MailHost
		want  dns.Result
		unfit bool
	}{
		"both serve":           {[]dns.MailHost{host("a.", nil, at), host("b.", nil, at)}, dns.Sound, false},
		"one building is down": {[]dns.MailHost{host("a.", nil, at), host("b.", errors.New("silent"), at)}, dns.Faulty, false},
		"both are down":        {[]dns.MailHost{host("a.", errors.New("silent"), at), host("b.", errors.New("silent"), at)}, dns.Faulty, true},
		"a name is not there":  {[]dns.MailHost{host("a.", nil, at), host("b.", nil)}, dns.Faulty, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, unfit := judgeMailHosts(c.hosts)
			if got.Result != c.want || (unfit != "") != c.unfit {
				t.Errorf("got %+v, unfit %q", got, unfit)
			}
		})
	}
}

// A round that finds what the last one found leaves the status as it was: times and serials are no news.
func TestSerialsAreNoNews(t *testing.T) {
	view := func(serial int64, mx string) []v1alpha1.DNSServerView {
		return []v1alpha1.DNSServerView{{Server: "ns.", MX: mx, Serial: ptr.To(serial)}}
	}
	if !sameViews(view(1, "10 a."), view(2, "10 a.")) {
		t.Error("a serial alone is news")
	}
	if sameViews(view(1, "10 a."), view(1, "10 b.")) {
		t.Error("another set is no news")
	}
}

func TestWhatStrangersPublishFitsTheSchema(t *testing.T) {
	var many []dns.MX
	for i := range 100 {
		many = append(many, dns.MX{Preference: uint16(i), Host: strings.Repeat("à", 300)})
	}
	got := texts(dns.NewSet(many...))
	if len(got) != maxRecords || slices.ContainsFunc(got, func(s string) bool { return len(s) > 262 || strings.ContainsRune(s, 'à') }) {
		t.Errorf("got %d records, the first %q", len(got), got[0])
	}
	if left := notShown(len(many), maxRecords); left == nil || *left != 84 || notShown(maxRecords, maxRecords) != nil {
		t.Errorf("%v records are not shown", left)
	}
}

func TestALongRequestIsCutBetweenLinesAndSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		limit int
		want  string
	}{
		"what fits stays":           {"città\nmx-a\n", 11, "città\nmx-a\n"},
		"no line is halved":         {"uno\nmx-a.uno.test\nmx-b.uno.test\n", 27, "2 missing\nuno\n"},
		"as many as there is room":  {"uno\nmx-a.uno.test\nmx-b.uno.test\n", 28, "1 missing\nuno\nmx-a.uno.test\n"},
		"a line that fits nowhere":  {strings.Repeat("x", 40), 20, "1 missing\n"},
		"a line that is left alone": {"uno\n" + strings.Repeat("x", 40), 20, "1 missing\nuno\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cutLines(c.text, c.limit, "%d missing"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
