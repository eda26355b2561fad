package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is a Debian with systemd as its process 1, in namespaces of its own.
type machine struct {
	name, root, stick, address string

	nspawn *exec.Cmd
	ended  chan struct{}
	leader int // its process 1, as this machine numbers it
}

// bridge is the machines' own network.
const bridge = "zpwalk"

// network is a machine's end of it, which systemd-nspawn calls host0.
const network = `[Match]
Name=host0

[Network]
Address=%s/24
LinkLocalAddressing=no
`

// boot starts the machine and waits until all its services have started.
func (m *machine) boot(ctx context.Context) error {
	wants := filepath.Join(m.root, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("/usr/lib/systemd/system/systemd-networkd.service", filepath.Join(wants, "systemd-networkd.service")); err != nil {
		return err
	}
	for file, text := range map[string]string{
		"etc/systemd/network/10-host0.network": fmt.Sprintf(network, m.address),
		"etc/hostname":                         m.name + "\n",
		"etc/resolv.conf":                      "",
		"etc/machine-id":                       "",
		"etc/dpkg/dpkg.cfg.d/walk":             "force-unsafe-io\n", // the machine lives for minutes
	} {
		if err := os.WriteFile(filepath.Join(m.root, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := m.fewerFiles(); err != nil {
		return err
	}
	m.nspawn = exec.Command("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no", "--console=pipe",
		"--directory="+m.root, "--machine=zpwalk-"+m.name, "--hostname="+m.name, "--network-bridge="+bridge, "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--bind="+m.stick+":/media/stick")
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program
	var console bytes.Buffer
	m.nspawn.Stdout, m.nspawn.Stderr = &console, &console
	if err := m.nspawn.Start(); err != nil {
		return err
	}
	m.ended = make(chan struct{})
	go func() {
		_ = m.nspawn.Wait() // it is killed in the end
		close(m.ended)
	}()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		select {
		case <-ctx.Done():
			m.kill()
			return ctx.Err()
		case <-m.ended:
			return fmt.Errorf("systemd-nspawn ended: %s", &console)
		case <-time.After(100 * time.Millisecond):
		}
		if m.up(ctx) {
			return nil
		}
		if time.Now().After(deadline) {
			m.kill()
			return fmt.Errorf("it has not started after two minutes: %s", &console)
		}
	}
}

// fewerFiles lets the server's unit start where this machine gives fewer open files
// than the unit asks for: no machine inside can have more.
func (m *machine) fewerFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max >= 1<<16 {
		return err
	}
	dir := filepath.Join(m.root, "etc/systemd/system/zeropass-server.service.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "files.conf"), fmt.Appendf(nil, "[Service]\nLimitNOFILE=%d\n", limit.Max), 0o644)
}

// up says whether the machine has started.
func (m *machine) up(ctx context.Context) bool {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.nspawn.Process.Pid))
	if err != nil {
		return false
	}
	if m.leader, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
		return false
	}
	return m.command(ctx, "systemctl", "is-system-running", "--wait").Run() == nil
}

// command is one that runs inside, as at a login of root.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(m.leader), "--all", "--root", "--wd", "--",
		"env", "-i", "-C", "/root", "HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// run runs a block, and returns what it printed. What it starts in the background
// would outlive it: a guide starts services.
func (m *machine) run(ctx context.Context, text string) (string, error) {
	script := filepath.Join(m.root, "root/.block")
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		return "", err
	}
	var printed bytes.Buffer
	c := m.command(ctx, "bash", "-eu", "-o", "pipefail", "/root/.block")
	c.Stdout = io.MultiWriter(os.Stdout, &printed)
	c.Stderr = c.Stdout
	c.WaitDelay = 5 * time.Second
	if err := c.Run(); err != nil {
		journal, _ := m.command(ctx, "journalctl", "--no-pager", "--lines=40").CombinedOutput()
		return "", fmt.Errorf("the block fails on %s: %w\nits journal ends with:\n%s", m.name, err, journal)
	}
	return printed.String(), nil
}

// kill takes the power away.
func (m *machine) kill() {
	if m.leader > 0 {
		_ = syscall.Kill(m.leader, syscall.SIGKILL) // takes its whole namespace with it
	}
	select {
	case <-m.ended:
	case <-time.After(10 * time.Second):
		_ = m.nspawn.Process.Kill() // nothing of it is used again
		<-m.ended
	}
}
