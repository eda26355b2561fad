package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Packages that the guide installs from Debian: a machine finds them in its cache,
// since it reaches no other network.
var fromDebian = [][]string{{"age", "curl"}, {"--no-install-recommends", "postgresql", "curl", "prometheus"}}

// debian makes a fresh Debian in a directory, the release and from the mirror that
// this machine uses, unless it is there.
func debian(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(LABEL) $(COMPONENT) $(CODENAME) $(SITE)", "Created-By: Packages").Output()
	if err != nil {
		return fmt.Errorf("apt-get indextargets: %w", err)
	}
	var release, mirror string
	for line := range strings.Lines(string(out)) {
		if w := strings.Fields(line); len(w) == 4 && w[0] == "Debian" && w[1] == "main" && !strings.Contains(w[2], "-") {
			release, mirror = w[2], w[3]
		}
	}
	if mirror == "" {
		return fmt.Errorf("apt on this machine knows no Debian")
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	fmt.Printf("making a fresh Debian %s\n", release)
	// What Debian's installer puts on every machine, and this needs.
	bootstrap := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,ca-certificates,openssl", release, part, mirror)
	if out, err := bootstrap.CombinedOutput(); err != nil {
		return fmt.Errorf("debootstrap: %w\n%s", err, out)
	}
	commands := [][]string{{part, "apt-get", "update"}}
	for _, packages := range fromDebian {
		commands = append(commands, append([]string{part, "apt-get", "install", "-y", "--download-only"}, packages...))
	}
	for _, args := range commands {
		if out, err := exec.CommandContext(ctx, "chroot", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", args, err, out)
		}
	}
	return os.Rename(part, dir)
}

// site is all machines, on one network with a stick that goes from one to another.
type site struct {
	dir, base, dist string
	machines        map[string]*machine
	domains         map[string]string // to the machine that serves each
	made            int
}

// run runs a block on a machine, and returns what it printed.
func (s *site) run(ctx context.Context, name, text string) (string, error) {
	m := s.machines[name]
	if m == nil {
		var err error
		if m, err = s.start(ctx, name); err != nil {
			return "", fmt.Errorf("machine %s: %w", name, err)
		}
	}
	return m.run(ctx, text)
}

// start makes a machine, with the packages in root's directory.
func (s *site) start(ctx context.Context, name string) (*machine, error) {
	s.made++
	m := &machine{name: name, root: filepath.Join(s.dir, name), stick: filepath.Join(s.dir, "stick"), address: fmt.Sprintf("10.213.77.%d", s.made)}
	if err := os.MkdirAll(m.stick, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", s.base, m.root).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(s.dist, "*_"+runtime.GOARCH+".deb"))
	if err != nil {
		return nil, err
	}
	if len(files) != 2 {
		return nil, fmt.Errorf("%s has %d packages for this machine, not 2: make package, in an empty directory", s.dist, len(files))
	}
	for _, file := range files {
		if out, err := exec.CommandContext(ctx, "cp", file, filepath.Join(m.root, "root")).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err := m.boot(ctx); err != nil {
		return nil, err
	}
	s.machines[name] = m
	return m, s.writeHosts()
}

// writeHosts tells every machine where the domains lead.
func (s *site) writeHosts() error {
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	for _, domain := range slices.Sorted(maps.Keys(s.domains)) {
		if m := s.machines[s.domains[domain]]; m != nil {
			hosts += m.address + " " + domain + "\n"
		}
	}
	for name, m := range s.machines {
		if err := os.WriteFile(filepath.Join(m.root, "etc/hosts"), []byte(hosts+"127.0.1.1 "+name+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// lose ends a machine as a fire does.
func (s *site) lose(name string) error {
	m := s.machines[name]
	if m == nil {
		return fmt.Errorf("there is no machine %s to lose", name)
	}
	delete(s.machines, name)
	fmt.Printf("\n*** %s has burnt\n", name)
	m.kill()
	return os.RemoveAll(m.root)
}

// release puts a package of the server on a machine that is the same but for its
// version, which is later.
func (s *site) release(ctx context.Context, name string) error {
	m := s.machines[name]
	if m == nil {
		return fmt.Errorf("there is no machine %s", name)
	}
	script := `set -eu
cd "$1"
dpkg-deb -R zeropass-server_*.deb next
sed -i '/^Version:/s/-1$/-2/' next/DEBIAN/control
mkdir -p new && dpkg-deb --root-owner-group -b next new/ >/dev/null && rm -r next`
	out, err := exec.CommandContext(ctx, "sh", "-c", script, "release", filepath.Join(m.root, "root")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// connect makes the network.
func (s *site) connect(ctx context.Context) error {
	for _, args := range [][]string{{"link", "add", bridge, "type", "bridge"}, {"link", "set", bridge, "up"}} {
		if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func (s *site) close() error {
	for _, m := range s.machines {
		m.kill()
	}
	return exec.Command("ip", "link", "delete", bridge).Run()
}
