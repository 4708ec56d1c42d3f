package dns

import "testing"

func TestKnownProviders(t *testing.T) {
	known, err := ParseProviders(map[string]string{"altro": "10 MX.altro.example\n", "terzo": "10 mx1.terzo.example.\n\n20 mx2.terzo.example.\n"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set  Set
		want string
	}{
		"exactly its set":            {foreignSet, "altro"},
		"one of two, other order":    {NewSet(MX{1, "mx2.terzo.example"}), "terzo"},
		"hosts of two providers":     {NewSet(MX{1, "mx2.terzo.example"}, foreignSet[0]), ""},
		"ours":                       {oursSet, ""},
		"no set at all":              {nil, ""},
		"a name that ends like one":  {NewSet(MX{10, "x.mx.altro.example"}), ""},
		"a name that begins so only": {NewSet(MX{10, "mx.altro.example.evil"}), ""},
	} {
		if got := known.Of(c.set); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if v := Classify(Desired{Domain: domain, MX: known["altro"]}, both(holds(foreignSet))); v.State != Ours {
		t.Errorf("an External domain with its provider's published set: %s", v.State)
	}
	for name, text := range map[string]string{"no line": "\n", "no preference": "mx.altro.example\n", "too large a preference": "70000 mx.altro.example\n"} {
		if _, err := ParseProviders(map[string]string{"altro": text}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
