package v1alpha1_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// worstObject keeps the largest spec and status that the schema permits well below what etcd takes in one write (1.5 MiB), and a
	// cluster's worth of them below its memory.
	worstObject = 256 << 10
	// worstAnnotation is what the API server takes as annotations, among which `kubectl apply` keeps the whole object.
	worstAnnotation = 256 << 10
	// longestName is the most characters of a condition's type and reason: they are constants of conditions.go.
	longestName = 32
)

func readCRDs(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob("../../config/crd/bases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	crds := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(raw, crd); err != nil {
			t.Fatal(err)
		}
		crds[crd.Spec.Names.Kind] = crd
	}
	return crds
}

func TestTheWorstObjectIsSmall(t *testing.T) {
	for kind, crd := range readCRDs(t) {
		t.Run(kind, func(t *testing.T) {
			schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
			spec, status := schema.Properties["spec"], schema.Properties["status"]
			size := largest(t, "spec", &spec) + largest(t, "status", &status)
			t.Logf("spec and status have at most %d bytes", size)
			if size > worstObject {
				t.Errorf("spec and status may have %d bytes, want at most %d: lower a bound", size, worstObject)
			}
		})
	}
}

func TestClientSideApplyTakesTheCRDs(t *testing.T) {
	for kind, crd := range readCRDs(t) {
		raw, err := json.Marshal(crd)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", kind, len(raw))
		if len(raw) > worstAnnotation {
			t.Errorf("%s: %d bytes, want at most %d: shorten descriptions", kind, len(raw), worstAnnotation)
		}
	}
}

// largest is the most bytes of JSON that a schema permits; what has no bound fails the test.
func largest(t *testing.T, path string, s *apiextensionsv1.JSONSchemaProps, beside ...apiextensionsv1.ValidationRule) int {
	t.Helper()
	switch {
	case len(s.Enum) > 0:
		longest := 0
		for _, value := range s.Enum {
			longest = max(longest, len(value.Raw))
		}
		return longest
	case s.Type == "string" && s.Format == "date-time":
		return len(`"2006-01-02T15:04:05.000000000+00:00"`)
	case s.XIntOrString: // a quantity, on which controller-gen allows no maxLength: a rule bounds it, here or beside it
		for _, rule := range slices.Concat(s.XValidations, beside) {
			if strings.Contains(rule.Rule, "size(string(self)) <= 32") || strings.Contains(rule.Rule, "size(string(self."+path[strings.LastIndex(path, ".")+1:]+")) <= 32") {
				return 34
			}
		}
		t.Errorf("no rule bounds the quantity %s", path)
		return 0
	case s.Type == "string":
		if s.MaxLength == nil {
			t.Errorf("%s has no maxLength", path)
			return 0
		}
		return 2 + characters(path, s)
	case s.Type == "integer":
		return len("-9223372036854775808")
	case s.Type == "array":
		if s.MaxItems == nil || s.XListType == nil {
			t.Errorf("%s has no maxItems or no list type", path)
			return 0
		}
		return 2 + int(*s.MaxItems)*(1+largest(t, path+"[]", s.Items.Schema))
	case s.Type == "object" && s.AdditionalProperties == nil:
		size, member := 2, 0
		for name := range s.Properties {
			child := s.Properties[name]
			n := len(name) + len(`"":,`) + largest(t, path+"."+name, &child, s.XValidations...)
			if isMember(s, name) { // of a union one is there
				member = max(member, n)
			} else {
				size += n
			}
		}
		return size + member
	}
	t.Errorf("%s is of a type that this API does not use: %s", path, s.Type)
	return 0
}

// isMember says whether a rule lets a property be there for one value of the object's type only.
func isMember(s *apiextensionsv1.JSONSchemaProps, name string) bool {
	return slices.ContainsFunc(s.XValidations, func(rule apiextensionsv1.ValidationRule) bool {
		return strings.HasPrefix(rule.Rule, "(self.type == '") && strings.HasSuffix(rule.Rule, "') == has(self."+name+")")
	})
}

// characters is the most bytes of a string's content: one for each character where a pattern keeps to ASCII without escapes, six
// elsewhere (\u003c). The operator cuts the messages that it writes itself, and names its conditions and reasons itself.
func characters(path string, s *apiextensionsv1.JSONSchemaProps) int {
	switch {
	case path == "status.conditions[].message":
		return reconcile.MaxMessage
	case path == "status.conditions[].type", path == "status.conditions[].reason":
		return longestName
	case s.Pattern != "" && !strings.Contains(s.Pattern, "[^"):
		return int(*s.MaxLength)
	}
	return 6 * int(*s.MaxLength)
}
