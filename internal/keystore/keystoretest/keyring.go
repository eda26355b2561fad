package keystoretest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/godbus/dbus/v5"
)

const (
	secretService = "org.freedesktop.secrets"
	loginKeyring  = "/org/freedesktop/secrets/collection/login"
)

// KeyringDaemon is a running gnome-keyring, headless, whose login keyring was
// unlocked with a password.
type KeyringDaemon struct {
	Address string // of its session bus, for DBUS_SESSION_BUS_ADDRESS

	dir   string
	cmd   *exec.Cmd
	stdin io.Closer
}

// The shell ends when its standard input does, and the bus and the daemon with it.
const session = `set -eu
printf 'test password' | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null 2>&1 &
daemon=$!
echo "$DBUS_SESSION_BUS_ADDRESS"
read -r _ || true
kill "$daemon"
wait "$daemon" || true`

// StartKeyring starts a keyring with nothing in it.
func StartKeyring() (*KeyringDaemon, error) {
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: run make test, which installs it", err)
		}
	}
	dir, err := os.MkdirTemp("", "keyring")
	if err != nil {
		return nil, err
	}
	k := &KeyringDaemon{dir: dir}
	k.cmd = exec.Command("dbus-run-session", "--", "sh", "-c", session)
	k.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+filepath.Join(dir, "data"),
		"XDG_RUNTIME_DIR="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	stdin, err := k.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := k.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := start(k.cmd); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	k.stdin = stdin
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		k.Address = strings.TrimSpace(address)
		err = wait("gnome-keyring", func() error { return k.with(unlocked) })
	}
	if err != nil {
		return nil, errors.Join(err, k.Stop())
	}
	return k, nil
}

// with calls f with a connection of its own.
func (k *KeyringDaemon) with(f func(*dbus.Conn) error) error {
	conn, err := dbus.Connect(k.Address)
	if err != nil {
		return err
	}
	return errors.Join(f(conn), conn.Close())
}

func unlocked(conn *dbus.Conn) error {
	// Asking the keyring itself would make the bus start one, without the password.
	var running bool
	if err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, secretService).Store(&running); err != nil {
		return err
	}
	if !running {
		return errors.New("it is not on the bus")
	}
	locked, err := conn.Object(secretService, loginKeyring).GetProperty("org.freedesktop.Secret.Collection.Locked")
	if err != nil {
		return err
	}
	if locked.Value() != false {
		return errors.New("the login keyring is locked")
	}
	return nil
}

// Entries returns what the login keyring holds, by label.
func (k *KeyringDaemon) Entries() (map[string]string, error) {
	entries := make(map[string]string)
	err := k.with(func(conn *dbus.Conn) error {
		var output dbus.Variant
		var opened dbus.ObjectPath
		service := conn.Object(secretService, "/org/freedesktop/secrets")
		if err := service.Call("org.freedesktop.Secret.Service.OpenSession", 0, "plain", dbus.MakeVariant("")).Store(&output, &opened); err != nil {
			return err
		}
		items, err := k.items(conn)
		if err != nil {
			return err
		}
		for _, path := range items {
			item := conn.Object(secretService, path)
			label, err := item.GetProperty("org.freedesktop.Secret.Item.Label")
			if err != nil {
				return err
			}
			var secret struct {
				Session     dbus.ObjectPath
				Parameters  []byte
				Value       []byte
				ContentType string
			}
			if err := item.Call("org.freedesktop.Secret.Item.GetSecret", 0, opened).Store(&secret); err != nil {
				return err
			}
			entries[label.Value().(string)] = string(secret.Value)
		}
		return nil
	})
	return entries, err
}

// Clear removes every entry of the login keyring.
func (k *KeyringDaemon) Clear() error {
	return k.with(func(conn *dbus.Conn) error {
		items, err := k.items(conn)
		if err != nil {
			return err
		}
		for _, path := range items {
			if err := conn.Object(secretService, path).Call("org.freedesktop.Secret.Item.Delete", 0).Err; err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *KeyringDaemon) items(conn *dbus.Conn) ([]dbus.ObjectPath, error) {
	v, err := conn.Object(secretService, loginKeyring).GetProperty("org.freedesktop.Secret.Collection.Items")
	if err != nil {
		return nil, err
	}
	return v.Value().([]dbus.ObjectPath), nil
}

// Lock locks the login keyring, as its owner can.
func (k *KeyringDaemon) Lock() error {
	return k.with(func(conn *dbus.Conn) error {
		return conn.Object(secretService, "/org/freedesktop/secrets").
			Call("org.freedesktop.Secret.Service.Lock", 0, []dbus.ObjectPath{loginKeyring}).Err
	})
}

// Stop ends the keyring and its bus and removes what it stored.
func (k *KeyringDaemon) Stop() error {
	_ = k.stdin.Close()
	// The bus ends with the shell, and takes dbus-run-session along with a signal
	// of its own on some systems.
	if err := k.cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).ExitStatus() > 0 {
			return err
		}
	}
	return os.RemoveAll(k.dir)
}
