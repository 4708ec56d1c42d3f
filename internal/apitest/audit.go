package apitest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// audited is the group whose requests the API server writes down.
const audited = "pec:audited"

// auditPolicy writes down who of the group asked for what; nobody else, and no bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["` + audited + `"]}
- {level: None}
`

// Ask is a kind of request that an account made, once however often.
type Ask struct {
	User, Verb, Group string
	// Resource with its subresource, like pecdomains/status.
	Resource  string
	Namespace string
	// Refused says that the API server answered 403.
	Refused bool
}

func (a Ask) String() string {
	return fmt.Sprintf("%s: %s %s/%s in namespace %q (refused: %v)", a.User, a.Verb, a.Group, a.Resource, a.Namespace, a.Refused)
}

// Asks are the requests for resources that operators and peers made of this server so far, as its audit log has them. An apply that
// made an object asked for create too: the API server demands both rights.
func (s *Server) Asks(t testing.TB) []Ask {
	t.Helper()
	file, err := os.Open(s.auditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	asks := map[Ask]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb           string
			User           struct{ Username string }
			ObjectRef      *struct{ APIGroup, Resource, Subresource, Namespace string }
			ResponseStatus struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("reading the audit log: %v", err)
		}
		if e.ObjectRef == nil {
			continue // discovery
		}
		a := Ask{User: e.User.Username, Verb: e.Verb, Group: e.ObjectRef.APIGroup, Namespace: e.ObjectRef.Namespace,
			Resource: strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/"), Refused: e.ResponseStatus.Code == http.StatusForbidden}
		asks[a] = true
		if a.Verb == "patch" && e.ResponseStatus.Code == http.StatusCreated {
			a.Verb = "create"
			asks[a] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("reading the audit log: %v", err)
	}
	out := make([]Ask, 0, len(asks))
	for a := range asks {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Ask) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

// Rules are the rules of a file of the chart.
func Rules(file string) ([]rbacv1.PolicyRule, error) {
	raw, err := os.ReadFile(filepath.Join(root(), "charts", "pec-operator", "files", file))
	if err != nil {
		return nil, err
	}
	var rules []rbacv1.PolicyRule
	return rules, yaml.UnmarshalStrict(raw, &rules)
}

// Granted says whether the chart's rules were given to a user in a namespace.
func (s *Server) Granted(user, namespace string) bool { return s.grants[user][namespace] }

// startAudit has an API server that is not started yet write down what operators ask; it answers the log's file.
func (s *Server) startAudit() error {
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		return fmt.Errorf("making a place for the audit log: %w", err)
	}
	s.auditLog = filepath.Join(dir, "log")
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("writing the audit policy: %w", err)
	}
	s.env.ControlPlane.GetAPIServer().Configure().Set("audit-policy-file", policy).Set("audit-log-path", s.auditLog)
	return nil
}
