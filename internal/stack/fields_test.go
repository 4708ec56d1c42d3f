package stack

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/hostile"
)

// reaching are the texts of a PECDomain that change a file of the stack: they stand in it, or choose what does (a site), or that
// they are there does (a Secret, a module). One that begins to is written here, which is the moment
// to think of what it could break.
var reaching = map[string]string{
	"metadata.name":                                                       "engine.json",
	"spec.provider.managed.antispam":                                      "engine.json",
	"spec.provider.managed.mailHosts[].host":                              "dovecot.conf engine.json main.cf",
	"spec.provider.managed.mailHosts[].site":                              "dovecot.conf engine.json main.cf",
	"spec.provider.managed.provider.mailDomain":                           "engine.json",
	"spec.provider.managed.provider.mailReceipt":                          "engine.json",
	"spec.provider.managed.provider.name":                                 "engine.json",
	"spec.provider.managed.providersIndex.caSecretRef.secretName":         "engine.json",
	"spec.provider.managed.providersIndex.clientCertSecretRef.secretName": "engine.json",
	"spec.provider.managed.providersIndex.url":                            "engine.json",
	"spec.provider.managed.serviceAddress":                                "engine.json",
	"spec.provider.managed.signing.pkcs11.configSecretRef.secretName":     "engine.json",
	"spec.provider.managed.signing.pkcs11.environment[].name":             "engine.json",
	"spec.provider.managed.signing.pkcs11.environment[].value":            "engine.json",
	"spec.provider.managed.signing.pkcs11.image":                          "engine.json",
	"spec.provider.managed.signing.pkcs11.keyLabel":                       "engine.json",
	"spec.provider.managed.signing.pkcs11.module":                         "engine.json",
	"spec.provider.managed.signing.pkcs11.pinSecretRef.secretName":        "engine.json",
	"spec.provider.managed.signing.pkcs11.tokenLabel":                     "engine.json",
	"spec.provider.managed.timestamping.caSecretRef.secretName":           "engine.json",
	"spec.provider.managed.timestamping.url":                              "engine.json",
}

// withText calls then for the domain with each of its texts made another one, the others being as they were.
func withText(value string, then func(path string, d *v1alpha1.PECDomain)) {
	d := makeDomain()
	d.Name = value
	then("metadata.name", d)
	d = makeDomain()
	hostile.Texts(reflect.ValueOf(&d.Spec).Elem(), "spec", func(path string, text reflect.Value) {
		was := text.String()
		text.SetString(value)
		then(path, d)
		text.SetString(was)
	})
}

// skeleton is what of a file's lines is not a value.
func skeleton(text string) []string {
	var heads []string
	for line := range strings.Lines(text) {
		head, _, isSetting := strings.Cut(line, "=")
		if key, _, isJSON := strings.Cut(line, `": `); isJSON && strings.HasPrefix(strings.TrimSpace(line), `"`) {
			head = key
		} else if !isSetting {
			head = line
		}
		heads = append(heads, strings.TrimSpace(head))
	}
	return heads
}

// usual are texts that a form accepts: a name, an address, a link, a number, a word of the platform's.
var usual = []string{"altro.test", "altro@altro.test", "https://altro.test/x", "7", "Managed"}

// shapes are the skeletons that a text may give to the files, by path: those that usual texts give, and under "" that of the
// domain as it is.
func shapes() map[string][]string {
	out := map[string][]string{}
	if content, err := files(makeDomain(), makeSettings()); err == nil {
		out[""] = []string{shape(content)}
	}
	for _, value := range usual {
		withText(value, func(path string, d *v1alpha1.PECDomain) {
			if content, err := files(d, makeSettings()); err == nil {
				out[path] = append(out[path], shape(content))
			}
		})
	}
	return out
}

func shape(content map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(content)) {
		all = append(all, "FILE "+name)
		all = append(all, skeleton(content[name])...)
	}
	return strings.Join(all, "\n")
}

// injected says what a domain's files have that was not meant, if a text makes them be written at all.
func injected(may map[string][]string, path string, d *v1alpha1.PECDomain) string {
	content, err := files(d, makeSettings())
	if err != nil {
		return "" // refused
	}
	got := shape(content)
	if slices.Contains(may[path], got) || slices.Contains(may[""], got) {
		return ""
	}
	return cmp.Diff(may[""][0], got)
}

// Whatever any text of a PECDomain is, beyond what the API server admits, a file has the settings that were meant and no other, or
// is not written.
func FuzzTextsOfADomain(f *testing.F) {
	for _, value := range hostile.Values {
		f.Add(value)
	}
	may := shapes()
	f.Fuzz(func(t *testing.T, value string) {
		withText(value, func(path string, d *v1alpha1.PECDomain) {
			if what := injected(may, path, d); what != "" {
				t.Errorf("%s = %.100q (-meant +written):\n%s", path, value, what)
			}
		})
	})
}

func TestTextsThatReachAFile(t *testing.T) {
	plain, err := files(makeDomain(), makeSettings())
	if err != nil {
		t.Fatal(err)
	}
	reached := map[string]map[string]bool{}
	for _, value := range append(slices.Collect(maps.Values(hostile.Values)), usual...) {
		withText(value, func(path string, d *v1alpha1.PECDomain) {
			content, err := files(d, makeSettings())
			if err != nil {
				content = map[string]string{"(refused)": ""}
			}
			for name, text := range content {
				if text != plain[name] {
					if reached[path] == nil {
						reached[path] = map[string]bool{}
					}
					reached[path][name] = true
				}
			}
		})
	}
	got := map[string]string{}
	for path, names := range reached {
		delete(names, "(refused)")
		if len(names) > 0 {
			got[path] = strings.Join(slices.Sorted(maps.Keys(names)), " ")
		}
	}
	if diff := cmp.Diff(reaching, got); diff != "" {
		t.Errorf("texts that stand in files (-listed +found):\n%s", diff)
	}
}

// Postfix and Dovecot themselves read no setting that was not meant, from whatever hostile text is written at all.
func TestRealProgramsReadNothingElse(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		i := newImage(n)
		i.write("keys/doveadm.conf", "doveadm_password = a\ndoveadm_api_key = b\n")
		cert, key := selfSigned(t)
		i.write("tls/tls.crt", cert)
		i.write("tls/tls.key", key)
		reads := func(content map[string]string) string {
			for _, name := range []string{fileMain, fileMaster, fileDomains, fileElsewhere, fileMailboxes, fileSenders, filePolicy, fileRefusals, fileLoops} {
				i.write("postfix/"+name, content[name])
			}
			i.write("dovecot/"+fileDovecot, content[fileDovecot])
			var all []string
			for _, what := range []string{"-n", "-M", "-P"} {
				all = append(all, skeleton(i.reads("/usr/sbin/postconf", "-c", postfixDir, what))...)
			}
			all = append(all, skeleton(aboutThisMachine.ReplaceAllString(i.reads("/usr/bin/doveconf", "-c", dovecotDir+"/"+fileDovecot, "-n"), ""))...)
			return strings.Join(all, "\n")
		}
		plain, err := files(makeDomain(), makeSettings())
		n.must(err)
		want, seen := reads(plain), map[string]bool{}
		relevant := func(content map[string]string) string {
			return content[fileMain] + content[fileMaster] + content[fileDovecot] + content[fileDomains] + content[fileElsewhere] + content[fileLoops] + content[fileMailboxes] + content[fileSenders] + content[filePolicy]
		}
		seen[relevant(plain)] = true
		values := hostile.Mixed(t, 50)
		maps.Copy(values, hostile.Values)
		for _, name := range slices.Sorted(maps.Keys(values)) {
			withText(values[name], func(path string, d *v1alpha1.PECDomain) {
				content, err := files(d, makeSettings())
				if err != nil || seen[relevant(content)] {
					return
				}
				seen[relevant(content)] = true
				if got := reads(content); got != want {
					t.Errorf("%s in %s is read as something else: %s", name, path, cmp.Diff(want, got))
				}
			})
		}
		t.Log(fmt.Sprint(len(seen)-1, " written files differ from the usual ones"))
		if len(seen) < 2 {
			t.Error("no hostile text was written at all: this test reads nothing")
		}
	})
}
