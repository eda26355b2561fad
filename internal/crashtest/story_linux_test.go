package crashtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// scene is one command of the story, before it what leads there, and after it what
// must be true, however often it was begun.
type scene struct {
	name    string
	prepare func(s *site) error
	who     string
	args    []string
	local   bool // without the server
	still   bool // it may change nothing
	// beside begins what other devices do meanwhile, and returns when the command can
	// be given.
	beside func(c *company) error
	// done says whether a command that was killed had nothing left to do, and would
	// do it once more if it were given again: nil where that makes no difference.
	done func(s *site) (bool, error)
	// over is what somebody does whom the command, given again, tells that there is
	// something already. It returns an error for any other failure, and is nil where
	// there is none.
	over func(s *site, r result) error
	// instead is what somebody may try, on a copy, rather than the same command.
	instead func(s *site) error
	check   func(s *site) error
}

func (sc *scene) command() command { return command{who: sc.who, args: sc.args} }

// item is a secret of the story.
type item struct{ title, password string }

var everything = []item{
	{"mail", "correct horse battery"},
	{"second", "staple of the second"},
	{"imported one", "first of the imported"},
	{"imported two", "another that came along"},
	{"imported three", "the third and last one"},
}

// waiting is the story's waiting period: commands take less.
const waiting = time.Second

// story is played in this order; every scene starts where the one before it ended.
func story() []scene {
	return []scene{
		{
			name: "init", who: "owner", args: initArgs("Ada"),
			over:    saysDone(10, "holds the account Ada already"),
			instead: anotherName,
			check: func(s *site) error {
				return errors.Join(addItem(s, 0), healthy(s, "owner", notYet, everything[:1]))
			},
		},
		{
			name:    "add",
			prepare: func(s *site) error { return addItem(s, 0) },
			who:     "owner", args: []string{"add", "--title", everything[1].title, "--secret-file", "secret1"},
			done:  func(s *site) (bool, error) { return keeps(s, "owner", everything[1]) },
			check: func(s *site) error { return healthy(s, "owner", notYet, everything[:2]) },
		},
		{
			name:    "import",
			prepare: func(s *site) error { return writeExport(s) },
			who:     "owner", args: []string{"import", "--format", "bitwarden-json", "export.json"},
			check: func(s *site) error { return healthy(s, "owner", notYet, everything) },
		},
		{
			name: "contact invite",
			prepare: func(s *site) error {
				return s.do(command{who: "ann", args: initArgs("Ann")}, command{who: "ben", args: initArgs("Ben")}, command{who: "cleo", args: initArgs("Cleo")})
			},
			who: "owner", args: inviteArgs("Ann"), local: true,
			over: func(s *site, r result) error {
				return errors.Join(saysDone(1, "ann.invitation is there already")(s, r), os.Remove(s.path("device/ann.invitation")), s.do(r.command))
			},
			check: func(s *site) error { return errors.Join(befriend(s, "ann"), holds(s, "ann", 1)) },
		},
		{
			name: "contact accept",
			prepare: func(s *site) error {
				return s.do(command{who: "owner", args: inviteArgs("Ben")}, command{who: "owner", args: inviteArgs("Cleo")})
			},
			who: "ann", args: acceptArgs("ann"),
			check: func(s *site) error { return errors.Join(befriend(s, "ann"), holds(s, "ann", 1)) },
		},
		{
			name:    "contact confirm",
			prepare: func(s *site) error { return keepPhrase(s, "ann") },
			who:     "owner", args: []string{"contact", "confirm", "Ann", "--phrase", "@ann.phrase"},
			check: func(s *site) error {
				return errors.Join(s.do(syncs("owner"), syncs("ann"), syncs("owner")), holds(s, "ann", 1), boundOnce(s, "Ann"))
			},
		},
		{
			name: "a share becomes whole", who: "ann", args: []string{"sync"},
			check: func(s *site) error {
				return errors.Join(s.do(syncs("owner")), holds(s, "ann", 1), boundOnce(s, "Ann"), keepsSlots(s, "ann", 1))
			},
		},
		{
			name: "an epoch commits",
			prepare: func(s *site) error {
				return errors.Join(keepPhrase(s, "ben"), confirm(s, "ben"), keepPhrase(s, "cleo"), confirm(s, "cleo"), s.do(syncs("ben"), syncs("cleo")))
			},
			who: "owner", args: []string{"sync"},
			check: func(s *site) error { return healthy(s, "owner", 0, everything) },
		},
		{
			name: "recover start", who: "new", args: []string{"recover", "start", "--server", "@server", "--name", "Ada", "--unlock-cost", "1"},
			check: func(s *site) error {
				if _, err := s.want(notYet, "new", "recover", "status"); err != nil {
					return err
				}
				return oneRequest(s, "ann")
			},
		},
		{
			name: "request approve",
			prepare: func(s *site) error {
				err := errors.Join(keepRequest(s), s.do(command{who: "ann", args: []string{"request", "list"}}, command{who: "ben", args: []string{"request", "list"}}))
				time.Sleep(waiting + 100*time.Millisecond) // the contacts wait by their own clocks
				return err
			},
			who: "ann", args: []string{"request", "approve", "--phrase", "@new.phrase"},
			check: func(s *site) error { return errors.Join(s.do(syncs("ann")), approvals(s, 1)) },
		},
		{
			name: "recover finish",
			prepare: func(s *site) error {
				return s.do(command{who: "ben", args: []string{"request", "approve", "--phrase", "@new.phrase"}}, command{who: "new", args: []string{"recover", "status"}})
			},
			who: "new", args: []string{"recover", "finish", "--output", handedOver},
			over: finishAgain,
			check: func(s *site) error {
				return errors.Join(wasHandedOver(s), healthy(s, "new", 0, everything), renew(s))
			},
		},
		{
			name: "a share of the next epoch comes", who: "ann", args: []string{"sync"},
			check: func(s *site) error { return renew(s) },
		},
		{
			name:    "the next epoch commits",
			prepare: func(s *site) error { return s.do(syncs("ben"), syncs("cleo")) },
			who:     "new", args: []string{"sync"},
			check: func(s *site) error { return renewed(s) },
		},
		{
			name: "an old share goes", who: "ann", args: []string{"sync"},
			check: func(s *site) error {
				return errors.Join(renewed(s), holds(s, "ann", 2), keepsSlots(s, "ann", 2))
			},
		},
	}
}

func initArgs(name string) []string {
	return []string{"init", "--server", "@server", "--name", name, "--waiting-period", waiting.String(), "--unlock-cost", "1"}
}

func inviteArgs(name string) []string {
	return []string{"contact", "invite", name, "--output", "device/" + strings.ToLower(name) + ".invitation"}
}

func acceptArgs(who string) []string {
	return []string{"contact", "accept", "--invitation-file", "device/" + who + ".invitation"}
}

func syncs(who string) command { return command{who: who, args: []string{"sync"}} }

// fill puts what the story has learnt into a command: @server is the server's
// address, @FILE what stands in a file.
func (s *site) fill(c command) (command, error) {
	c.args = slices.Clone(c.args)
	for i, arg := range c.args {
		name, ok := strings.CutPrefix(arg, "@")
		switch {
		case !ok:
		case name == "server":
			c.args[i] = "http://" + s.address
		default:
			text, err := os.ReadFile(s.path(name))
			if err != nil {
				return c, err
			}
			c.args[i] = string(text)
		}
	}
	return c, nil
}

// saysDone accepts one answer to a command that was given again.
func saysDone(code int, text string) func(*site, result) error {
	return func(_ *site, r result) error {
		if r.code != code || !strings.Contains(r.stderr, text) {
			return r.failed("again, it ends with %d", r.code)
		}
		return nil
	}
}

// handedOver is where a recovery writes all secrets.
const handedOver = "device/everything.json"

// finishAgain does what a recovery that is finished again asks for: it ends well,
// whatever it wrote before, unless there is nothing left to do.
func finishAgain(s *site, r result) error {
	return saysDone(2, "has recovered Ada already")(s, r)
}

// wasHandedOver says whether every secret was written into the file, and nothing
// beside it is left of a try that failed.
func wasHandedOver(s *site) error {
	if err := handsOver(s, everything); err != nil {
		return err
	}
	names, err := os.ReadDir(s.path("device"))
	for _, n := range names {
		if !n.IsDir() && !slices.Contains([]string{filepath.Base(handedOver), "ann.invitation", "ben.invitation", "cleo.invitation"}, n.Name()) {
			err = errors.Join(err, fmt.Errorf("%s is left behind", n.Name()))
		}
	}
	return err
}

// handsOver says whether these secrets were written into the file.
func handsOver(s *site, want []item) error {
	b, err := os.ReadFile(s.path(handedOver))
	if err != nil {
		return err
	}
	for _, i := range want {
		if !json.Valid(b) || !strings.Contains(string(b), i.password) {
			return fmt.Errorf("%s is not in what was handed over, %d bytes", i.title, len(b))
		}
	}
	return nil
}

// anotherName starts over under another name: it is taken, or the program says why
// not, and how to go on.
func anotherName(s *site) error {
	r, err := s.run(nil, command{who: "owner", args: initArgs("Eve")})
	if err == nil && r.code == 0 {
		_, err = s.want(notYet, "owner", "status")
		return err
	}
	if err == nil && (r.code != 10 || !strings.Contains(r.stderr, "Ada")) {
		err = r.failed("it ends with %d", r.code)
	}
	return err
}

func addItem(s *site, n int) error { return errors.Join(writeSecrets(s), addTo(s, "owner", n)) }

// writeExport writes what the story imports.
func writeExport(s *site) error {
	type login struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	type exported struct {
		ID    string `json:"id"`
		Type  int    `json:"type"`
		Name  string `json:"name"`
		Login login  `json:"login"`
	}
	export := struct {
		Encrypted bool       `json:"encrypted"`
		Folders   []string   `json:"folders"`
		Items     []exported `json:"items"`
	}{Folders: []string{}}
	for i, item := range everything[2:] {
		id := fmt.Sprintf("8dabf68e-2eb7-4728-afea-875e7536500%d", i)
		export.Items = append(export.Items, exported{id, 1, item.title, login{"ada", item.password}})
	}
	b, err := json.Marshal(export)
	return errors.Join(err, os.WriteFile(s.path("export.json"), b, 0o600))
}

// keepPhrase has a contact accept, again perhaps, and keeps the phrase that they
// read out.
func keepPhrase(s *site, who string) error {
	var accepted struct {
		Phrase string `json:"your_phrase"`
	}
	err := s.ask(&accepted, who, acceptArgs(who)...)
	return errors.Join(err, os.WriteFile(s.path(who+".phrase"), []byte(accepted.Phrase), 0o600))
}

// keepRequest keeps the phrase of the new device.
func keepRequest(s *site) error {
	var started struct{ Phrase string }
	err := s.ask(&started, "new", "recover", "start", "--server", "@server", "--name", "Ada")
	return errors.Join(err, os.WriteFile(s.path("new.phrase"), []byte(started.Phrase), 0o600))
}

func confirm(s *site, who string) error {
	name := strings.ToUpper(who[:1]) + who[1:]
	return s.do(command{who: "owner", args: []string{"contact", "confirm", name, "--phrase", "@" + who + ".phrase"}})
}

// befriend goes on from an invitation that was accepted to a share that is proved.
func befriend(s *site, who string) error {
	return errors.Join(keepPhrase(s, who), confirm(s, who), s.do(syncs(who), syncs("owner")))
}

// healthy says what is wrong with a device: every item must be there once, open,
// and be what it was, and the server must have the same ledger. Another device
// confirms, if one is named.
func healthy(s *site, who string, verdict int, want []item, by ...string) error {
	if err := s.do(syncs(who)); err != nil {
		return err
	}
	if _, err := s.want(verdict, who, "status"); err != nil {
		return err
	}
	var list []struct {
		Title    string
		Accepted bool
	}
	if err := s.ask(&list, who, "list"); err != nil {
		return err
	}
	var have []string
	for _, l := range list {
		have = append(have, l.Title)
		if !l.Accepted {
			return fmt.Errorf("%s: %s is not accepted", who, l.Title)
		}
	}
	var titles []string
	for _, i := range want {
		titles = append(titles, i.title)
	}
	slices.Sort(titles)
	if slices.Sort(have); !slices.Equal(have, titles) {
		return fmt.Errorf("%s has %q, not %q", who, have, titles)
	}
	last := want[len(want)-1]
	shown, err := s.confirmed(command{who: who, args: []string{"get", last.title, "--field", "password"}}, by...)
	if err != nil {
		return err
	}
	if strings.TrimSpace(shown.stdout) != last.password {
		return shown.failed("it is %q", last.password)
	}
	var verified struct {
		OK     bool
		Agrees bool `json:"server_agrees"`
	}
	if err := s.ask(&verified, who, "ledger", "verify"); err != nil || !verified.OK || !verified.Agrees {
		return fmt.Errorf("%s: the ledger is verified as %+v, %w", who, verified, err)
	}
	return nil
}

// holds says whether a contact keeps one whole share for the owner, of an epoch.
func holds(s *site, who string, epoch uint64) error {
	var held []struct {
		Owner string
		Epoch uint64
		Whole bool
	}
	if err := s.ask(&held, who, "held", "--list"); err != nil {
		return err
	}
	if len(held) != 1 || held[0].Owner != "Ada" || held[0].Epoch != epoch || !held[0].Whole {
		return fmt.Errorf("%s holds %+v", who, held)
	}
	return nil
}

// keepsSlots says whether a contact's account has so many slots.
func keepsSlots(s *site, who string, want int) error {
	var status struct{ Slots, Unsent int }
	r, err := s.want(notYet, who, "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(r.stdout), &status)
	}
	if err == nil && (status.Slots != want || status.Unsent != 0) {
		err = fmt.Errorf("%s has %+v", who, status)
	}
	return err
}

// boundOnce says whether the owner has a contact once, with a share that is
// proved.
func boundOnce(s *site, name string) error {
	var list struct {
		Contacts []struct {
			Name   string
			Proved bool `json:"share_proved"`
		}
	}
	if err := s.ask(&list, "owner", "contact", "list"); err != nil {
		return err
	}
	if len(list.Contacts) != 1 || list.Contacts[0].Name != name || !list.Contacts[0].Proved {
		return fmt.Errorf("the owner's contacts are %+v", list.Contacts)
	}
	return nil
}

// oneRequest says whether a contact is asked once.
func oneRequest(s *site, who string) error {
	var list []struct{ Owner string }
	if err := s.ask(&list, who, "request", "list"); err != nil {
		return err
	}
	if len(list) != 1 || list[0].Owner != "Ada" {
		return fmt.Errorf("%s is asked %+v", who, list)
	}
	return nil
}

// approvals says whether so many approvals have come.
func approvals(s *site, want int) error {
	var shown struct{ Approvals int }
	r, err := s.want(notYet, "new", "recover", "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(r.stdout), &shown)
	}
	if err == nil && shown.Approvals != want {
		err = fmt.Errorf("%d approvals, not %d", shown.Approvals, want)
	}
	return err
}

// renew goes on from a recovery to an epoch that is committed.
func renew(s *site) error {
	return errors.Join(s.do(syncs("ann"), syncs("ben"), syncs("cleo"), syncs("new")), renewed(s), s.do(syncs("ann")), holds(s, "ann", 2))
}

// renewed says whether the second epoch protects everything.
func renewed(s *site) error {
	var status struct {
		Epoch     uint64
		Committed bool
	}
	if err := s.ask(&status, "new", "status"); err != nil {
		return err
	}
	if status.Epoch != 2 || !status.Committed {
		return fmt.Errorf("the new device is at %+v", status)
	}
	return healthy(s, "new", 0, everything)
}
