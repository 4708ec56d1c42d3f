// Package floors keeps the house standing: rooms on a lower floor never import from a higher one.
package floors

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/pec-operator/pec-operator/"

// floors lists every room and the floor it stands on; a room that is not listed fails the test, so that nobody builds in the garden.
var floors = map[string]int{
	"api/v1alpha1":                    0,
	"internal/pec":                    0,
	"internal/calendar":               0,
	"internal/contract":               0,
	"internal/hostile":                0,
	"internal/mailage":                0,
	"internal/durable":                0,
	"internal/reach":                  0,
	"internal/patrol":                 1,
	"internal/availability":           0,
	"internal/settings":               1,
	"internal/password":               1,
	"internal/sieve":                  1,
	"internal/admin":                  1,
	"internal/pki":                    1,
	"internal/providers":              1,
	"internal/evidence":               1,
	"internal/directory":              1,
	"internal/dns":                    1,
	"internal/engine":                 2,
	"internal/inspect":                2,
	"internal/stack":                  2,
	"internal/peer":                   2,
	"internal/reconcile":              2,
	"internal/engines":                2,
	"internal/apitest":                2,
	"controllers":                     3,
	"internal/manager":                4,
	"test":                            5,
	"hack/demo":                       5,
	"hack/catalogue":                  5,
	"api/v1alpha1/applyconfiguration": 0, // generated; for clients that apply, so that the kinds themselves need no client library
	"internal/exit":                   0,
	"internal/signing":                1,
	"signer":                          5,
	"internal/audit":                  2,
	"internal/store":                  1,
	"internal/mailtest":               2,
	"internal/s3test":                 2,
	"internal/jobs":                   2,
	"internal/retention":              2,
	"internal/imapx":                  1,
	"internal/migration":              2,
	"internal/antivirus":              1,
	"internal/antispam":               1,
}

// pure rooms import no Kubernetes client, and api/ nothing but apimachinery.
var forbidden = map[string][]string{
	"api/v1alpha1":          {"k8s.io/client-go", "k8s.io/api/", "sigs.k8s.io/controller-runtime"},
	"internal/pec":          {"k8s.io/", "sigs.k8s.io/", "net/http"},
	"internal/calendar":     {"k8s.io/", "sigs.k8s.io/", "net/http"},
	"internal/contract":     {"k8s.io/", "sigs.k8s.io/", "net/http"},
	"internal/availability": {"k8s.io/", "sigs.k8s.io/", "net"},
	"internal/evidence":     {"k8s.io/", "sigs.k8s.io/"},
	"internal/directory":    {"k8s.io/", "sigs.k8s.io/"},
	"internal/store":        {"k8s.io/", "sigs.k8s.io/"},
	"internal/imapx":        {"k8s.io/", "sigs.k8s.io/"},
	"internal/migration":    {"k8s.io/", "sigs.k8s.io/"},
	"internal/dns":          {"k8s.io/", "sigs.k8s.io/"},
	"internal/engine":       {"k8s.io/", "sigs.k8s.io/"},
	"internal/retention":    {"k8s.io/", "sigs.k8s.io/"},
	"internal/inspect":      {"k8s.io/", "sigs.k8s.io/", "net/http"},
	"internal/stack":        {"k8s.io/client-go/kubernetes"},
	"internal/mailage":      {"k8s.io/", "sigs.k8s.io/", "net/http"},
	"internal/patrol":       {"k8s.io/", "sigs.k8s.io/"},
	"internal/reach":        {"k8s.io/", "sigs.k8s.io/", "net/http"},
}

func TestImportsOnlyGoDown(t *testing.T) {
	for pkg, imports := range packages(t) {
		room, floor := roomOf(pkg)
		if room == "" {
			t.Errorf("%s stands on no floor: add it to floors", pkg)
			continue
		}
		for _, imported := range imports {
			if other, above := roomOf(imported); other != "" && other != room && above > floor {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go only downward", pkg, floor, imported, above)
			}
			for _, prefix := range forbidden[room] {
				if strings.HasPrefix(imported, prefix) {
					t.Errorf("%s imports %s: %s must work without it", pkg, imported, room)
				}
			}
		}
	}
}

// packages maps each package of the module to its direct imports, tests left out.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	found := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		found[fields[0]] = fields[1:]
	}
	return found
}

// roomOf answers the room that a package belongs to, by the longest matching path, and the floor it stands on.
func roomOf(pkg string) (string, int) {
	if pkg+"/" == module {
		return "main", 5
	}
	path, ours := strings.CutPrefix(pkg, module)
	if !ours {
		return "", 0
	}
	best := ""
	for room := range floors {
		if (path == room || strings.HasPrefix(path, room+"/")) && len(room) > len(best) {
			best = room
		}
	}
	return best, floors[best]
}
