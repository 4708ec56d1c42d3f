package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
)

func TestJudgeSecrets(t *testing.T) {
	at := time.Now()
	a := siteSecret{"a", placement{Version: "1", At: at, Password: "hash a"}}
	b := siteSecret{"b", placement{Version: "7", At: at.Add(time.Second), Password: "hash b"}}
	pair := pairOf(a, b)
	if edited := (siteSecret{"b", placement{Version: "8", At: b.At}}); pairOf(b, a) != pair || pairOf(a, edited) == pair {
		t.Fatal("the sites name the pair differently, or an edit does not change its name")
	}
	says := func(site string, same bool) map[string]compared {
		return map[string]compared{site: {Pair: pair, Site: site, Same: same, At: at}}
	}
	for name, c := range map[string]struct {
		own, other siteSecret
		found      map[string]compared
		want       admin.Secrets
	}{
		"the later is asked first":                       {own: b, other: a, want: admin.Secrets{Pair: pair, Theirs: "hash a"}},
		"the earlier waits for it":                       {own: a, other: b},
		"of two at one instant, one is asked":            {own: b, other: siteSecret{"a", placement{Version: "1", At: b.At, Password: "hash a"}}, want: admin.Secrets{Pair: pair, Theirs: "hash a"}},
		"who found a difference says so":                 {own: b, other: a, found: says("b", false), want: admin.Secrets{Pair: pair, DifferSince: at}},
		"then the earlier is asked too":                  {own: a, other: b, found: says("b", false), want: admin.Secrets{Pair: pair, Theirs: "hash b"}},
		"who found them equal is right":                  {own: b, other: a, found: map[string]compared{"a": says("a", true)["a"], "b": says("b", false)["b"]}},
		"the later's word is enough when they are equal": {own: a, other: b, found: says("b", true)},
		"an answer about other Secrets is none":          {own: b, other: a, found: map[string]compared{"b": {Pair: "former", Same: true}}, want: admin.Secrets{Pair: pair, Theirs: "hash a"}},
		"the same ready hash needs no check":             {own: siteSecret{"b", placement{Version: "7", At: b.At, Password: "hash a"}}, other: a},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, judgeSecrets(c.own, c.other, c.found)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Two engines with their link between them: what the operators are asked and told, through an edit, a restart and a site that is not there.
func TestBothSitesSecretsAreCompared(t *testing.T) {
	a, b := newTwins(t)
	address := "anna@" + ours
	give := func(x *twin, version, hash string) {
		t.Helper()
		row, err := x.engine.directory.Mailbox(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		row.Password, row.CredentialsVersion = hash, version
		if err := x.engine.noteSecrets([]admin.Place{{Address: address, Mailbox: &row}}); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(x *twin) admin.Secrets {
		t.Helper()
		entry, err := x.engine.directory.Entry(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		placed, err := x.engine.placedOf(entry)
		if err != nil {
			t.Fatal(err)
		}
		return placed.Holder.Secrets
	}
	answer := func(x *twin, same bool) {
		t.Helper()
		if err := x.engine.noteCompared(address, admin.Compared{Pair: sees(x).Pair, Same: same}); err != nil {
			t.Fatal(err)
		}
		agree(t, a, b)
	}
	nothing := func(when string, x *twin) {
		t.Helper()
		if got := sees(x); got != (admin.Secrets{}) {
			t.Errorf("%s site %s is told %+v", when, x.settings.Site, got)
		}
	}
	agree(t, a, b)
	give(a, "a/1", "{BLF-CRYPT}uno")
	agree(t, a, b)
	nothing("while the other has no Secret", a)
	nothing("without a Secret", b)
	later(time.Minute, a, b)
	give(b, "b/1", "{BLF-CRYPT}due")
	agree(t, a, b)
	nothing("before the later has looked", a)
	if got := sees(b).Theirs; got != "{BLF-CRYPT}uno" {
		t.Fatalf("the later site is asked about %q", got)
	}
	answer(b, false)
	answer(a, false)
	b.kill()
	agree(t, a, b)
	for _, x := range []*twin{a, b} {
		if got := sees(x); got.DifferSince.IsZero() || got.Theirs != "" {
			t.Errorf("site %s is told %+v of Secrets that differ", x.settings.Site, got)
		}
	}
	cut(a, b)
	later(time.Minute, a, b)
	give(b, "b/2", "{BLF-CRYPT}tre")
	if sees(a).DifferSince.IsZero() {
		t.Error("a site that cannot hear of the edit forgot what it knew")
	}
	heal(a, b)
	agree(t, a, b)
	nothing("after the edit", a)
	answer(b, true)
	nothing("with equal Secrets", a)
	nothing("with equal Secrets", b)
}
