package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// generated heads every page.
const generated = "<!-- Written by hack/catalogue; make generate writes it again. -->\n\n"

// readKinds reads the CRDs of a folder, in the order of their names.
func readKinds(folder string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("finding CRDs in %s: %d files, %w", folder, len(files), err)
	}
	var out []*apiextensionsv1.CustomResourceDefinition
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading CRD: %w", err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(raw, crd); err != nil {
			return nil, fmt.Errorf("reading CRD %s: %w", file, err)
		}
		out = append(out, crd)
	}
	return out, nil
}

// kindPage is the reference of one kind.
func kindPage(crd *apiextensionsv1.CustomResourceDefinition) string {
	var b strings.Builder
	version, names := crd.Spec.Versions[0], crd.Spec.Names
	schema := version.Schema.OpenAPIV3Schema
	fmt.Fprintf(&b, "%s# %s\n\n%s\n\n`%s/%s`, short name `%s`. How to use it: [docs/kinds](../kinds/%s.md). Conditions: [catalogue](conditions.md).\n",
		generated, names.Kind, schema.Description, crd.Spec.Group, version.Name, strings.Join(names.ShortNames, "`, `"), names.Singular)
	if len(version.SelectableFields) > 0 {
		b.WriteString("\nSelectable with `--field-selector`:")
		for i, f := range version.SelectableFields {
			fmt.Fprintf(&b, "%s `%s`", strings.Repeat(",", min(i, 1)), strings.TrimPrefix(f.JSONPath, "."))
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n## Columns\n\n| column | shown | what it says |\n|---|---|---|\n")
	for _, c := range version.AdditionalPrinterColumns {
		shown := "always"
		if c.Priority > 0 {
			shown = "`-o wide`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.Name, shown, cell(c.Description))
	}
	var refusals []string
	for _, part := range []string{"spec", "status"} {
		fmt.Fprintf(&b, "\n## %s\n\n| field | type | what it is |\n|---|---|---|\n", part)
		child := schema.Properties[part]
		writeFields(&b, "", &child)
	}
	collectRefusals(schema, &refusals)
	b.WriteString("\n## What the API server refuses\n\n")
	for _, message := range refusals {
		fmt.Fprintf(&b, "- %s\n", message)
	}
	return b.String()
}

// writeFields writes a row for each field below a schema.
func writeFields(b *strings.Builder, path string, s *apiextensionsv1.JSONSchemaProps) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		kind := typeOf(&field)
		if slices.Contains(s.Required, name) {
			kind += ", required"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", path+name, kind, cell(field.Description))
		switch {
		case path+name == "conditions":
			// The same for every kind and for Kubernetes itself.
		case field.Items != nil:
			writeFields(b, path+name+"[].", field.Items.Schema)
		default:
			writeFields(b, path+name+".", &field)
		}
	}
}

// typeOf says what may be written into a field.
func typeOf(s *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case len(s.Enum) > 0:
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i] = "`" + strings.Trim(string(v.Raw), `"`) + "`"
		}
		return strings.Join(values, " or ") + defaultOf(s)
	case s.XIntOrString:
		return "quantity"
	case s.Type == "array":
		return fmt.Sprintf("list (up to %d) of %s", *s.MaxItems, typeOf(s.Items.Schema))
	case s.Type == "string" && s.Format != "":
		return s.Format
	case s.Type == "string":
		return fmt.Sprintf("string (up to %d)", *s.MaxLength)
	case s.Type == "integer":
		return s.Type + limits(s) + defaultOf(s)
	}
	return s.Type
}

func limits(s *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf(" (%.0f to %.0f)", *s.Minimum, *s.Maximum)
	case s.Minimum != nil:
		return fmt.Sprintf(" (from %.0f)", *s.Minimum)
	case s.Maximum != nil:
		return fmt.Sprintf(" (up to %.0f)", *s.Maximum)
	}
	return ""
}

func defaultOf(s *apiextensionsv1.JSONSchemaProps) string {
	if s.Default == nil {
		return ""
	}
	return ", default " + strings.Trim(string(s.Default.Raw), `"`)
}

// collectRefusals adds the messages of the rules of a schema and below, each once.
func collectRefusals(s *apiextensionsv1.JSONSchemaProps, out *[]string) {
	for _, rule := range s.XValidations {
		if !slices.Contains(*out, rule.Message) {
			*out = append(*out, rule.Message)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		child := s.Properties[name]
		collectRefusals(&child, out)
	}
	if s.Items != nil {
		collectRefusals(s.Items.Schema, out)
	}
}

// cell is a text on one line of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
