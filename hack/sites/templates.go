package main

import (
	"embed"
	"strings"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(templateFiles, "templates/*"))

// mustRender fills in one of our own templates; that it can be filled in is a matter of this program's tests, not of its user.
func mustRender(name string, values any) string {
	var text strings.Builder
	if err := templates.ExecuteTemplate(&text, name, values); err != nil {
		panic(err)
	}
	return text.String()
}
