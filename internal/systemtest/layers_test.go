package systemtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "zeropass.dev/zeropass"

// layers lists every package from the ground up. A package imports only what
// stands above it in this list.
var layers = []string{
	"gen",
	"gen/zeropass/record/v1",
	"gen/zeropass/api/v1",
	"gen/zeropass/api/v1/apiv1connect",
	"bip32",
	"hpke",
	"shamir",
	"slip39",
	"canonical",
	"signing",
	"aead",
	"memory",
	"interchange",
	"ledger",
	"credential",
	"seed",
	"home",
	"recovery",
	"internal/api",
	"internal/entropy",
	"internal/passphrase",
	"internal/client",
	"internal/postgresd",
	"internal/load",
	"internal/store",
	"internal/store/sqlstore",
	"internal/store/storetest",
	"internal/store/sqlite",
	"internal/store/postgres",
	"internal/store/postgres/postgrestest",
	"internal/notify",
	"internal/notify/notifytest",
	"internal/server",
	"internal/logtest",
	"internal/agent",
	"internal/keystore",
	"internal/keystore/keystoretest",
	"internal/desktop",
	"internal/desktop/desktoptest",
	"internal/sheet",
	"internal/device",
	"internal/adversary",
	"internal/demo",
	"internal/powerloss",
	"internal/crashtest",
	"internal/systemtest",
	"cmd/zeropass",
	"cmd/zeropass-server",
	"cmd/zeropass-recover",
	"cmd/zeropass-bench",
}

// separate lists pairs that must not know each other, in either direction.
var separate = [][2]string{
	{"internal/server", "internal/device"},
	{"internal/server", "internal/client"},
	{"internal/server", "home"},
	{"internal/store", "internal/device"},
	{"internal/load", "internal/server"},
	{"cmd/zeropass-server", "internal/device"},
}

// isPublic tells the packages that an auditor or an offline recovery relies on.
func isPublic(pkg string) bool {
	return !strings.HasPrefix(pkg, "internal/") && !strings.HasPrefix(pkg, "cmd/") && !strings.HasPrefix(pkg, "gen")
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := make(map[string]goPackage)
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
}

func TestPackagesDependDownwards(t *testing.T) {
	for name, p := range listPackages(t) {
		level := slices.Index(layers, name)
		if level < 0 {
			t.Errorf("%s has no place in the layers: give it one", name)
			continue
		}
		for _, imported := range p.Imports {
			below, ours := strings.CutPrefix(imported, module+"/")
			if ours && slices.Index(layers, below) >= level {
				t.Errorf("%s imports %s, which does not lie below it", name, below)
			}
		}
	}
}

func TestSeparatedPackages(t *testing.T) {
	packages := listPackages(t)
	for _, pair := range separate {
		for i := range pair {
			from, to := pair[i], pair[1-i]
			if slices.Contains(packages[from].Deps, module+"/"+to) {
				t.Errorf("%s depends on %s", from, to)
			}
		}
	}
}

// An offline recovery must not need a network, a database, a log or anything
// internal, and no public package may speak the API.
func TestPublicPackagesStandAlone(t *testing.T) {
	for name, p := range listPackages(t) {
		if !isPublic(name) && name != "cmd/zeropass-recover" {
			continue
		}
		for _, dep := range p.Deps {
			switch {
			case strings.HasPrefix(dep, module+"/internal/"),
				strings.HasPrefix(dep, module+"/gen/zeropass/api/"),
				strings.HasPrefix(dep, "connectrpc.com/"),
				dep == "net/http", dep == "database/sql":
				t.Errorf("%s depends on %s", name, dep)
			}
		}
		if slices.Contains(p.Imports, "log") {
			t.Errorf("%s logs", name)
		}
	}
}
