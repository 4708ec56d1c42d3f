package main

import "testing"

func TestIsInit(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		want   bool
	}{
		"process 1 of a machine":                      {"Name:\tlauncher\nNSpid:\t4711\t1\nThreads:\t3\n", true},
		"another process of a machine":                {"Name:\tetcd\nNSpid:\t4711\t12\n", false},
		"process 1 of a pod":                          {"Name:\tpause\nNSpid:\t4711\t99\t1\n", false},
		"a process of the host":                       {"Name:\tsshd\nNSpid:\t4711\n", false},
		"a text of another process, whatever it says": {"NSpid:\t4712\t1\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isInit(c.status, 4711); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}

func TestMemberOf(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"version 1, below the group":                          {"4:memory:/pec.demo/a/init\n3:cpuset:/\n", true},
		"version 2, the group itself":                         {"0::/pec.demo\n", true},
		"a group whose name only begins alike":                {"0::/pec.demo-2/a/init\n", false},
		"a group of the same name elsewhere in the hierarchy": {"0::/user.slice/pec.demo\n", false},
		"the root": {"9:name=systemd:/\n0::/\n", false},
		"no text, of a process that has just ended": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := memberOf(c.text, "pec.demo"); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}
