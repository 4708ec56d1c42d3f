package main

import (
	"slices"
	"strings"
	"testing"
)

func TestDebianSources(t *testing.T) {
	const signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
	for name, c := range map[string]struct {
		targets string
		release string
		want    []string
	}{
		"main, updates and security of Debian 12 become those of trixie": {
			"http://mirror.example/debian/ bookworm main\nhttp://mirror.example/debian/ bookworm-updates main\nhttp://mirror.example/security/ bookworm-security main\n",
			"bookworm",
			[]string{
				signed + "http://mirror.example/debian/ trixie main", signed + "http://mirror.example/debian/ trixie-updates main",
				signed + "http://mirror.example/security/ trixie-security main",
			},
		},
		"other components, other repositories and backports are left out": {
			"http://mirror.example/debian/ trixie non-free\nhttps://vendor.example/apt stable main\nhttp://mirror.example/debian/ trixie-backports main\nhttp://mirror.example/debian/ trixie main\n",
			"trixie",
			[]string{signed + "http://mirror.example/debian/ trixie main"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := debianSources(c.targets, c.release)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	for name, release := range map[string]string{"no source for the release": "sid", "a machine that does not tell its release": ""} {
		t.Run(name, func(t *testing.T) {
			if got, err := debianSources("http://mirror.example/debian/ bookworm main\n", release); err == nil {
				t.Errorf("got %q, want an error", got)
			}
		})
	}
}

func TestCodename(t *testing.T) {
	for text, want := range map[string]string{
		"ID=debian\nVERSION_CODENAME=bookworm\n": "bookworm", "VERSION_CODENAME=\"trixie\"\n": "trixie", "ID=debian\n": "",
	} {
		if got := codename(text); got != want {
			t.Errorf("codename(%q): got %q, want %q", text, got, want)
		}
	}
}

func TestTransferOptions(t *testing.T) {
	dump := "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://proxy.example:3128\";\nAcquire::Languages \"none\";\n"
	if got, want := transferOptions(dump), []string{`Acquire::http::Proxy "http://proxy.example:3128"`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVersionFlags(t *testing.T) {
	flags := versionFlags("v1.36.3")
	for _, want := range []string{"gitVersion=v1.36.3", "gitMajor=1 ", "gitMinor=36"} {
		if !strings.Contains(flags, want) {
			t.Errorf("%q lacks %q", flags, want)
		}
	}
}
