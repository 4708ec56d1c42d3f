// Package hostile is for tests of what a text from a resource may do where it is written down: the texts that have done harm
// somewhere, and a walk over every text that a resource can hold, so that a new field is tried without anybody's remembering it.
package hostile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values are texts, by what each is.
var Values = map[string]string{
	"a line feed":               "a\nmydestination = evil.test",
	"a carriage return":         "a\rb",
	"a line feed and a space":   "a\n  b",
	"a leading space":           " a",
	"a trailing space":          "a ",
	"a NUL":                     "a\x00b",
	"a tab":                     "a\tb",
	"a shell's command":         "$(id)",
	"a shell's command, quoted": "`id`",
	"a variable of Postfix":     "${mynetworks}",
	"a variable of Dovecot":     "%{env:PATH}",
	"the environment":           "$ENV:PATH",
	"a file":                    "</etc/passwd",
	"double quotes":             `a" b "c`,
	"a lone double quote":       `"`,
	"single quotes":             "a' OR 'a'='a",
	"a backslash":               `a\`,
	"a backslash and a quote":   `a\"b`,
	"an opening brace":          "a {",
	"a closing brace":           "}",
	"a block":                   "} service x { executable = /bin/sh",
	"a comment":                 "a # b",
	"a leading comment":         "# a",
	"a comma":                   "a, permit",
	"an equals sign":            "a = b",
	"an include":                "!include /etc/passwd",
	"an override":               "-o mynetworks=0.0.0.0/0",
	"text above ASCII":          "Società",
	"a very long value":         strings.Repeat("x", 100_000),
	"a long value":              strings.Repeat("x y ", 1000) + "x",
	"plain text":                "mx-a.gestore-uno.test",
}

// Mixed are n texts put together at random from pieces of Values and from what quotes, ends or escapes something somewhere, by what each is.
// It logs the seed, with which they come again.
func Mixed(t testing.TB, n int) map[string]string {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("texts mixed by the seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // nothing is kept secret by it
	var pieces []string
	for _, name := range slices.Sorted(maps.Keys(Values)) {
		if len(Values[name]) < 100 {
			pieces = append(pieces, Values[name])
		}
	}
	const marks = "\"'`\\{}[]()<>#;:,=$%!@|&~*?. \t\r\n\x00\x7f\u00e0\u2028"
	single := []rune(marks)
	mixed := make(map[string]string, n)
	for i := range n {
		var text strings.Builder
		for range 1 + random.IntN(5) {
			piece := pieces[random.IntN(len(pieces))]
			text.WriteString(piece[:1+random.IntN(len(piece))])
			text.WriteRune(single[random.IntN(len(single))])
		}
		mixed[fmt.Sprintf("mix %d of seed %d", i, seed)] = text.String()
	}
	return mixed
}

// Texts calls visit for each text that a value can hold, with its path; what is not there is made on the way.
func Texts(v reflect.Value, path string, visit func(path string, text reflect.Value)) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]() || v.Type() == reflect.TypeFor[metav1.Time]() || v.Type() == reflect.TypeFor[resource.Quantity]():
	case v.Kind() == reflect.String:
		visit(path, v)
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			fresh := reflect.New(v.Type().Elem())
			Texts(fresh.Elem(), path, func(path string, text reflect.Value) {
				v.Set(fresh)
				visit(path, text)
				v.SetZero()
			})
			return
		}
		Texts(v.Elem(), path, visit)
	case v.Kind() == reflect.Slice:
		was := reflect.ValueOf(v.Interface())
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		for i := range v.Len() {
			Texts(v.Index(i), path+"[]", visit)
		}
		v.Set(was)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			Texts(v.Field(i), path+"."+name, visit)
		}
	}
}
