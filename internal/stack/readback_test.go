package stack

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/hostile"
	dc "github.com/pec-operator/pec-operator/internal/stack/dovecotconf"
	pf "github.com/pec-operator/pec-operator/internal/stack/postfixconf"
)

// image is the mail image with a folder of the test's at /etc/pec.
type image struct {
	*node
	root, dir string
}

func newImage(n *node) image {
	n.t.Helper()
	i := image{node: n, dir: n.temporary("files")}
	i.root = n.overlay("image")
	n.must(os.MkdirAll(filepath.Join(i.root, "etc/pec"), 0o755))
	n.run("mount", "--bind", i.dir, filepath.Join(i.root, "etc/pec"))
	return i
}

func (i image) write(name, text string) {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	i.must(os.MkdirAll(filepath.Dir(path), 0o755))
	i.must(os.WriteFile(path, []byte(text), 0o644))
}

// reads is what a program of the image prints, warnings included.
func (i image) reads(program string, args ...string) string {
	i.t.Helper()
	out, err := exec.Command("chroot", append([]string{i.root, program}, args...)...).CombinedOutput()
	if err != nil {
		i.t.Errorf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// Every file, as the real programs read it: nothing unknown, nothing lost, no warning.
func TestRealProgramsReadTheFiles(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		content, err := files(makeDomain(), makeSettings())
		n.must(err)
		i := newImage(n)
		for _, name := range []string{fileMain, fileMaster, fileDomains, fileElsewhere, fileMailboxes, fileSenders, filePolicy, fileRefusals, fileLoops} {
			i.write("postfix/"+name, content[name])
		}
		i.write("dovecot/"+fileDovecot, content[fileDovecot])
		i.write("keys/doveadm.conf", "doveadm_password = a\ndoveadm_api_key = b\n")
		cert, key := selfSigned(t)
		i.write("tls/tls.crt", cert)
		i.write("tls/tls.key", key)
		if got, want := i.reads("/usr/sbin/postconf", "-c", postfixDir, "-n"), content[fileMain]; sortedLines(got) != sortedLines(want) {
			t.Errorf("postconf -n: %s", cmp.Diff(sortedLines(want), sortedLines(got)))
		}
		golden(t, "postconf-M", i.reads("/usr/sbin/postconf", "-c", postfixDir, "-M"))
		got := i.reads("/usr/bin/doveconf", "-c", dovecotDir+"/"+fileDovecot, "-n")
		golden(t, "doveconf-n", aboutThisMachine.ReplaceAllString(got, ""))
		// A cache of logins would let a former password in, and an access that was withdrawn. None is Dovecot's default, which no file shows.
		if got := i.reads("/usr/bin/doveconf", "-c", dovecotDir+"/"+fileDovecot, "-h", "auth_cache_size"); got != "0\n" {
			t.Errorf("Dovecot remembers logins in %q bytes", got)
		}
	})
}

// aboutThisMachine are doveconf's first lines: versions, kernel, host name.
var aboutThisMachine = regexp.MustCompile(`(?m)^# .*\n`)

func sortedLines(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

// A hostile value is refused by the writer, or read by the real program as the value it is.
func TestHostileValues(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		i := newImage(n)
		i.write("empty/main.cf", "")
		i.write("main/master.cf", "")
		try := func(values map[string]string) (refused map[string][]string) {
			refused = map[string][]string{}
			for _, name := range slices.Sorted(maps.Keys(values)) {
				for file, check := range map[string]func(image, string) (read, want string, err error){
					fileMain: mainReads, fileMaster: masterReads, fileDovecot: dovecotReads,
				} {
					read, want, err := check(i, values[name])
					switch {
					case err != nil:
						refused[file] = append(refused[file], name)
					case read != want && (file == fileDovecot || !slices.Equal(strings.Fields(read), strings.Fields(want))): // postconf prints spaces as one
						t.Errorf("%s in %s is read as %.200q, want %.200q", name, file, read, want)
					}
				}
			}
			return refused
		}
		const mixed = 40
		for file, refused := range try(hostile.Mixed(t, mixed)) {
			if len(refused) == mixed {
				t.Errorf("%s: all mixed texts are refused: they try nothing", file)
			}
		}
		refused := try(hostile.Values)
		for file, want := range map[string]string{
			fileMain:   refusedByPostfix,
			fileMaster: refusedByPostfix,
			fileDovecot: "a NUL; a carriage return; a line feed; a line feed and a space; a shell's command; a tab; a variable of Dovecot; " +
				"a variable of Postfix; a very long value; text above ASCII; the environment",
		} {
			if got := strings.Join(refused[file], "; "); got != want {
				t.Errorf("%s: refused are %s, want %s", file, got, want)
			}
		}
	})
}

const refusedByPostfix = "a NUL; a block; a carriage return; a closing brace; a comment; a leading comment; a leading space; a line feed; " +
	"a line feed and a space; a shell's command; a tab; a trailing space; a variable of Dovecot; a variable of Postfix; a very long value; " +
	"an opening brace; text above ASCII; the environment"

func mainReads(i image, value string) (read, want string, err error) {
	text, err := pf.RenderMain([]pf.Parameter{{Name: "smtpd_banner", Value: pf.Text(value)}})
	if err != nil {
		return "", "", err
	}
	i.write("main/main.cf", text)
	return i.reads("/usr/sbin/postconf", "-c", "/etc/pec/main", "-n"), "smtpd_banner = " + value + "\n", nil
}

func masterReads(i image, value string) (read, want string, err error) {
	text, err := pf.RenderMaster([]pf.Service{{
		Name: "2525", Kind: pf.Inet, Command: "smtpd", Overrides: []pf.Parameter{{Name: "smtpd_banner", Value: pf.Text(value)}},
	}})
	if err != nil {
		return "", "", err
	}
	i.write("empty/master.cf", text)
	return i.reads("/usr/sbin/postconf", "-c", "/etc/pec/empty", "-P"), "2525/inet/smtpd_banner = " + value + "\n", nil
}

func dovecotReads(i image, value string) (read, want string, err error) {
	text, err := dc.Render(
		dc.Set("dovecot_config_version", dc.Word("2.4.1")), dc.Set("dovecot_storage_version", dc.Word("2.4.1")), dc.Set("login_greeting", dc.Text(value)))
	if err != nil {
		return "", "", err
	}
	i.write("dovecot.conf", text)
	read = i.reads("/usr/bin/doveconf", "-c", "/etc/pec/dovecot.conf", "-h", "login_greeting")
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(value)
	if read == `"`+value+`"`+"\n" || read == `"`+quoted+`"`+"\n" { // so doveconf prints what would mean something without quotes
		read = value + "\n"
	}
	return read, value + "\n", nil
}
