package stack

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	clamd "github.com/pec-operator/pec-operator/internal/antivirus"
)

// testVirus is what the test's own definition finds.
const testVirus = "pec-operator: this text stands for a virus in tests"

func definition(name, text string) string {
	return fmt.Sprintf("%s:0:*:%s\n", name, hex.EncodeToString([]byte(text)))
}

// The rendered ClamAV, for real: it finds what its definitions know, and lets nothing pass that it could not look at whole.
func TestAntivirus(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		n.data["antivirus-definitions"] = map[string]string{"test.ndb": definition("Test.Pec", testVirus)}
		p := newPod(t, n)
		r := p.start(p.spec, p.container("antivirus"))
		defer r.stop()
		n.must(waitPort(portClamd, r.done))
		s := clamd.Scanner{Address: loopback(portClamd), Definitions: p.volumePath(p.spec, volumeDefinitions)}
		if version, err := s.Version(); err != nil {
			t.Errorf("version: %v\n%s", err, r.output)
		} else {
			t.Log(version)
		}
		if at, err := s.Refreshed(); err != nil || time.Since(at) > time.Minute {
			t.Errorf("refreshed at %s, %v", at, err)
		}
		large := strings.Repeat("Una riga di testo del tutto innocua.\r\n", 1<<20)
		carried := carriedSize(EngineSettings(makeDomain(), makeSettings()).Limits)
		for name, test := range map[string]struct {
			content io.Reader
			want    string // of the threat; "!" for an error
		}{
			"a clean message":                     {strings.NewReader("Subject: x\r\n\r\nciao\r\n"), ""},
			"an empty one":                        {strings.NewReader(""), ""},
			"the virus":                           {strings.NewReader("Subject: x\r\n\r\n" + testVirus + "\r\n"), "Test.Pec"},
			"the virus in base64":                 {strings.NewReader(attached(testVirus)), "Test.Pec"},
			"a clean message of 38 MB":            {strings.NewReader(large), ""},
			"the virus behind 38 MB":              {strings.NewReader(large + testVirus), "Test.Pec"},
			"more than the scanner takes at once": {io.LimitReader(zeros{}, carried+1<<20), "!"},
		} {
			threat, err := s.Scan(test.content)
			if (err != nil) != (test.want == "!") || err == nil && !strings.HasPrefix(threat, test.want) || (test.want == "" && threat != "") {
				t.Errorf("%s: found %q, %v, want %q", name, threat, err, test.want)
			}
		}
		given := (&v1alpha1.Antivirus{}).MemoryGiven()
		if peak := r.peak(t); peak > given.Value() {
			t.Errorf("clamd took %d MiB, and is given %s for few definitions", peak>>20, given.String())
		}
		if _, err := s.Scan(io.MultiReader(strings.NewReader(large), dying{r})); err == nil {
			t.Error("a scanner that was killed in the middle of a message found it clean")
		}
		if _, err := s.Scan(strings.NewReader("x")); err == nil {
			t.Error("a scanner that is gone found something clean")
		}
	})
}

// peak is the most memory that process 1 of a container had, in bytes; mapped files count, though the kernel can take their pages back.
func (r *running) peak(t *testing.T) (bytes int64) {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.cmd.Process.Pid, r.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(children)) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(after, &bytes); err != nil {
		t.Fatal(err)
	}
	t.Logf("clamd's peak: %d MiB", bytes>>10)
	return bytes << 10
}

// dying is the end of a message that takes clamd away, as the kernel does when its memory is used up.
type dying struct{ clamd *running }

func (d dying) Read([]byte) (int, error) {
	d.clamd.stop()
	return 0, io.EOF
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func attached(text string) string {
	return "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/octet-stream; name=x.bin\r\n" +
		"Content-Disposition: attachment; filename=x.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(text)) + "\r\n--b--\r\n"
}

func TestAntivirusIsGivenWhatItsDefinitionsNeed(t *testing.T) {
	claim, given := v1alpha1.AntivirusDefinitions{ClaimRef: &v1alpha1.LocalReference{Name: "x"}}, resource.MustParse("3Gi")
	for name, c := range map[string]struct {
		antivirus v1alpha1.Antivirus
		want      string
	}{
		"what a ConfigMap can hold":      {v1alpha1.Antivirus{Definitions: v1alpha1.AntivirusDefinitions{ConfigMapRef: &v1alpha1.LocalReference{Name: "x"}}}, "256Mi"},
		"all that ClamAV's own may be":   {v1alpha1.Antivirus{Definitions: claim}, "2Gi"},
		"what the spec says, if it does": {v1alpha1.Antivirus{Definitions: claim, Memory: &given}, "3Gi"},
	} {
		r := antivirus(&v1alpha1.ManagedProvider{Antivirus: &c.antivirus}, makeSettings())[0].Resources
		if request, limit := r.Requests.Memory().String(), r.Limits.Memory().String(); request != c.want || limit != c.want {
			t.Errorf("%s: request %s, limit %s, want %s", name, request, limit, c.want)
		}
	}
}
