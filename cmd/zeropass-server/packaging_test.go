package main

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// The unit starts serve with settings that fit, and waits for it to stop.
func TestUnit(t *testing.T) {
	f, err := os.Open("../../packaging/systemd/zeropass-server.service")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unit := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			unit[key] += value
		}
	}
	if unit["ExecStart"] != "/usr/bin/zeropass-server serve --config /etc/zeropass/server.toml --json" || unit["Type"] != "notify" {
		t.Errorf("the unit starts %q (%s)", unit["ExecStart"], unit["Type"])
	}
	flags := settings()
	flags.String(settingsFlag, "", "")
	if err := flags.Set(settingsFlag, "../../packaging/systemd/server.toml"); err != nil {
		t.Fatal(err)
	}
	if _, err := configure(flags); err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{"data": "/var/lib/zeropass", "registration": "token", "admin-listen": "127.0.0.1:9440", "drain": "5s"} {
		if have := flags.Lookup(setting).Value.String(); have != want {
			t.Errorf("%s is %s, not %s", setting, have, want)
		}
	}
}
