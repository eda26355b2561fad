package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

// The scripts run this program, the server and zeropass-recover as processes of
// their own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"zeropass": main})
}

func TestScripts(t *testing.T) { runScripts(t, "testdata/script", "") }

// The scripts in their own folder run servers over PostgreSQL.
func TestPostgresScripts(t *testing.T) {
	database := postgrestest.Start(t, postgrestest.Options{Durable: true})
	runScripts(t, "testdata/postgres", database.URL(database.Database(t)))
}

func runScripts(t *testing.T, folder, database string) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "zeropass.dev/zeropass/cmd/zeropass-server", "zeropass.dev/zeropass/cmd/zeropass-recover")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the programs beside this one: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: folder,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("SAMPLE", sample(t))
			env.Values[serversKey{}] = map[string]*server{}
			env.Values[databaseKey{}] = database
			env.Values[keystoresKey{}] = new(keystores)
			env.Values[desktopKey{}] = new(scriptDesktop)
			for _, name := range []string{"owner", "ann", "ben", "cleo", "new"} {
				env.Setenv(strings.ToUpper(name), filepath.Join(env.WorkDir, name))
			}
			return writePassphrases(env.WorkDir)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server":       cmdServer,
			"twofaced":     cmdTwoFaced,
			"relog":        cmdRelog,
			"deaf":         cmdDeaf,
			"everycommand": cmdEveryCommand,
			"code":         cmdCode,
			"extract":      cmdExtract,
			"until":        cmdUntil,
			"withfile":     cmdWithFile,
			"busy":         cmdBusy,
			"talk":         cmdTalk,
			"garbage":      cmdGarbage,
			"tpm":          cmdTPM,
			"keyring":      cmdKeyring,
			"desktop":      cmdDesktop,
			"ended":        cmdEnded,
		},
	})
}

// sample is a Bitwarden export with an item of every kind.
func sample(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../interchange/testdata/bitwarden_export.json")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// writePassphrases makes the files pw and pw2 for --passphrase-file and
// --confirm-passphrase-file.
func writePassphrases(dir string) error {
	for name, text := range map[string]string{"pw": "first of two\n", "pw2": "second of two\n", "wrong": "neither\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

type serversKey struct{}

// databaseKey finds the URL of the servers' database, which is empty where each has
// a directory.
type databaseKey struct{}

type server struct {
	cmd *exec.Cmd
	url string
}

// server start NAME [VARIABLE] runs a server on the directory NAME, or on the
// scripts' database, and puts its address into the variable, SERVER if none is
// named; server stop NAME ends it; server kill NAME leaves it no time for anything;
// server moved NAME URL starts it again where it was, to say that it has moved.
func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: server start|stop|kill NAME [VARIABLE], or server moved NAME URL")
	}
	servers := ts.Value(serversKey{}).(map[string]*server)
	name := args[1]
	switch args[0] {
	case "start":
		variable := "SERVER"
		if len(args) > 2 {
			variable = args[2]
		}
		address := "127.0.0.1:0"
		if old := servers[name]; old != nil {
			address = strings.TrimPrefix(old.url, "http://") // where its accounts look for it
		}
		s, err := startServer(ts.Getenv("PATH"), ts.MkAbs(name), address, ts.Value(databaseKey{}).(string))
		ts.Check(err)
		servers[name] = s
		ts.Setenv(variable, s.url)
		ts.Defer(func() { _ = s.stop() })
	case "moved":
		s, err := startServer(ts.Getenv("PATH"), ts.MkAbs(name), strings.TrimPrefix(servers[name].url, "http://"), "", "--moved-to", args[2])
		ts.Check(err)
		servers[name] = s
		ts.Defer(func() { _ = s.stop() })
	case "stop":
		ts.Check(servers[name].stop())
	case "kill":
		ts.Check(servers[name].cmd.Process.Kill())
		_ = servers[name].cmd.Wait() // "signal: killed"
	default:
		ts.Fatalf("server: %q is none of start, stop, kill and moved", args[0])
	}
}

// listening is what a server says when devices may come, with its address; other lines
// may name others.
var listening = regexp.MustCompile(`is ready at (http://127\.0\.0\.1:\d+)`)

func startServer(path, dir, address, database string, more ...string) (*server, error) {
	program, _, _ := strings.Cut(path, string(os.PathListSeparator))
	data := []string{"--data", dir}
	if database != "" {
		data = []string{"--database", database}
	}
	cmd := exec.Command(filepath.Join(program, "zeropass-server"),
		slices.Concat([]string{"serve", "--listen", address, "--key-file", dir + ".key"}, data, more)...)
	out, err := os.OpenFile(dir+".log", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	before, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		log, err := os.ReadFile(dir + ".log")
		if err != nil {
			return nil, err
		}
		if found := listening.FindSubmatch(log[before:]); found != nil {
			s.url = string(found[1])
			return s, nil
		}
	}
	_ = s.stop()
	return nil, fmt.Errorf("the server in %s is not ready after 20 seconds; see %s.log", dir, dir)
}

// stop ends the server the way a system does, and says when it does not end.
func (s *server) stop() error {
	if s.cmd.ProcessState != nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })()
	return s.cmd.Wait()
}

// extract FILE PATTERN: the pattern's first group, found in the output of the
// last command, goes into the file.
func cmdExtract(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: extract FILE PATTERN")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("no %s in standard output", args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(found[1]+"\n"), 0o600))
}

// code NUMBER COMMAND...: the command must end with this exit code; ? is any.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if args[0] != "?" && strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, not %s", got, args[0])
	}
}

// withfile VARIABLE FILE: the file's line goes into the variable.
func cmdWithFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: withfile VARIABLE FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// garbage: SERVER answers everything, and with nothing that makes sense.
func cmdGarbage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: garbage")
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/proto")
		_, _ = io.WriteString(w, "welcome to nginx")
	}))
	ts.Defer(s.Close)
	ts.Setenv("SERVER", s.URL)
}

// busy DIR: the home is held open until the script ends.
func cmdBusy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: busy DIR")
	}
	h, err := home.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { _ = h.Close() })
}

// until SECONDS COMMAND...: runs the command until it succeeds.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until SECONDS COMMAND...")
	}
	patience, err := time.ParseDuration(args[0] + "s")
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if err = ts.Exec(args[1], args[2:]...); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still failing after %s seconds: %v", args[0], err)
		}
	}
}
