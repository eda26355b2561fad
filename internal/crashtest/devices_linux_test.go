package crashtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// devices is the story of an account with several devices, from the second one to
// a printed sheet. Its quorum is one contact.
func devices() []scene {
	two := everything[:2]
	get := []string{"get", two[0].title, "--field", "password"}
	return []scene{
		{
			name: "device add", prepare: startDevices,
			who: "phone", args: addArgs, beside: approves("phone"),
			over: alreadyAdded,
			check: func(s *site) error {
				return errors.Join(devicesAre(s, "owner", "active", "active"), healthy(s, "phone", 0, two[:1], "owner"), healthy(s, "owner", 0, two[:1], "phone"))
			},
		},
		{
			name: "device approve", who: "owner", args: []string{"device", "approve", "--phrase", "@device.phrase", "--as", "tablet"},
			beside: adds("tablet", "phone"),
			over:   saysDone(8, "no device asks to be added"),
			check: func(s *site) error {
				return errors.Join(devicesAre(s, "owner", "active", "active", "active"), healthy(s, "tablet", 0, two[:1], "owner"), healthy(s, "phone", 0, two[:1], "tablet"))
			},
		},
		{
			name: "get", who: "owner", args: get, beside: confirms("phone"),
			check: func(s *site) error { return healthy(s, "owner", 0, two[:1], "phone") },
		},
		{
			name: "confirm", who: "phone", args: []string{"confirm", "--yes"},
			beside: asks(0, two[0].password, "owner", "confirm", "phone", get...),
			over:   nothingWaits,
			check:  func(s *site) error { return healthy(s, "phone", 0, two[:1], "owner") },
		},
		{
			name: "refuse", who: "phone", args: []string{"refuse"},
			beside: asks(5, "", "owner", "refuse", "phone", get...),
			over:   nothingWaits,
			check:  func(s *site) error { return healthy(s, "owner", 0, two[:1], "tablet") },
		},
		{
			name: "alarms set", who: "owner", args: []string{"alarms", "set", "--webhook", "@hook.url"}, beside: confirms("phone"),
			check: func(s *site) error {
				var set struct{ Webhook string }
				err := s.ask(&set, "phone", "alarms", "show")
				if err == nil && set.Webhook != s.hook.URL {
					err = fmt.Errorf("alarms go to %q", set.Webhook)
				}
				return err
			},
		},
		{
			name: "alarms test", who: "owner", args: []string{"alarms", "test"}, still: true,
			beside: func(c *company) error { c.s.heard = c.s.hook.heard.Load(); return nil },
			check:  alarmCame,
		},
		{
			name: "device rename", who: "phone", args: []string{"device", "rename", "pocket"},
			check: func(s *site) error {
				return errors.Join(s.do(syncs("owner")), named(s, "owner", 2, "pocket"), healthy(s, "phone", 0, two[:1], "owner"))
			},
		},
		{
			name: "device lock", who: "owner", args: []string{"device", "lock", "3"},
			check: func(s *site) error {
				return errors.Join(devicesAre(s, "owner", "active", "active", "locked"), closedTo(s, "tablet"), healthy(s, "phone", 0, two[:1], "owner"))
			},
		},
		{
			name: "device unlock", who: "owner", args: []string{"device", "unlock", "3"}, beside: confirms("phone"),
			check: func(s *site) error {
				return errors.Join(devicesAre(s, "owner", "active", "active", "active"), healthy(s, "tablet", 0, two[:1], "owner"))
			},
		},
		{
			name:    "device revoke",
			prepare: func(s *site) error { return s.do(command{who: "owner", args: []string{"device", "lock", "3"}}) },
			who:     "owner", args: []string{"device", "revoke", "3", "--yes"}, beside: confirms("phone"),
			check: func(s *site) error {
				return errors.Join(devicesAre(s, "owner", "active", "active", "revoked"), closedTo(s, "tablet"),
					nextEpoch(s, 2), closedTo(s, "tablet"))
			},
		},
		{
			name: "rotate", who: "owner", args: []string{"rotate"}, beside: confirms("phone"),
			instead: recovers(two[:1]),
			check:   func(s *site) error { return committed(s, 2, 0) },
		},
		{
			name: "add between the phases",
			who:  "phone", args: []string{"add", "--title", two[1].title, "--secret-file", "secret1"},
			done:  func(s *site) (bool, error) { return keeps(s, "phone", two[1]) },
			check: func(s *site) error { return committed(s, 2, 1) },
		},
		{
			name:    "the second epoch commits",
			prepare: func(s *site) error { return s.do(syncs("ann")) },
			who:     "owner", args: []string{"sync"},
			check: func(s *site) error { return committed(s, 2, 1) },
		},
		{
			name: "rotate --printed", who: "phone", args: []string{"rotate", "--printed"}, beside: confirms("owner"),
			instead: recovers(two),
			check:   func(s *site) error { return printed(s, 3) },
		},
		{
			name: "sheet print", who: "phone", args: []string{"sheet", "print", "--pdf", "device/sheet.pdf"}, beside: confirms("owner"), still: true,
			over: func(s *site, r result) error {
				if err := saysDone(1, "device/sheet.pdf is there already")(s, r); err != nil {
					return err
				}
				return errors.Join(os.Remove(s.path("device/sheet.pdf")), s.do(r.command))
			},
			check: func(s *site) error { return printed(s, 3) },
		},
		{
			name: "sheet confirm", prepare: printSheet,
			who: "phone", args: []string{"sheet", "confirm", "--words-file", "sheet.words"},
			check: func(s *site) error { return printed(s, 3) },
		},
		{
			name: "the printed epoch commits",
			prepare: func(s *site) error {
				time.Sleep(waiting)
				return s.do(syncs("ann"))
			},
			who: "phone", args: []string{"sync"},
			instead: recovers(two),
			check:   func(s *site) error { return committed(s, 3, 1) },
		},
		{
			name: "unlock", who: "owner", args: []string{"unlock"}, local: true,
			check: unlocks,
		},
	}
}

var addArgs = []string{"device", "add", "Ada", "--server", "@server", "--phrase-of-account", "@account.phrase", "--unlock-cost", "1", "--json"}

// startDevices makes an account that is recoverable, with one device.
func startDevices(s *site) error {
	if err := errors.Join(writeSecrets(s), os.WriteFile(s.path("hook.url"), []byte(s.hook.URL), 0o600)); err != nil {
		return err
	}
	err := s.do(command{who: "owner", args: append(initArgs("Ada"), "--contacts", "1-of-1")}, command{who: "ann", args: initArgs("Ann")},
		command{who: "owner", args: []string{"add", "--title", everything[0].title, "--secret-file", "secret0"}},
		command{who: "owner", args: inviteArgs("Ann")})
	if err != nil {
		return err
	}
	if err := errors.Join(befriend(s, "ann"), os.Remove(s.path("device/ann.invitation"))); err != nil {
		return err
	}
	var list struct {
		Phrase string `json:"account_phrase"`
	}
	err = s.ask(&list, "owner", "device", "list")
	return errors.Join(err, os.WriteFile(s.path("account.phrase"), []byte(list.Phrase), 0o600))
}

// writeSecrets writes what the stories add.
func writeSecrets(s *site) error {
	for i, item := range everything[:2] {
		if err := os.WriteFile(s.path(fmt.Sprintf("secret%d", i)), []byte(item.password+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

var (
	alreadyAdded = saysDone(10, "holds the account Ada already")
	nothingWaits = saysDone(8, "nothing ") // waits, or waits any more
)

type listed struct {
	Number uint64
	Name   string
	Status string
}

func listDevices(s *site, who string) ([]listed, error) {
	var list struct{ Devices []listed }
	err := errors.Join(s.do(syncs(who)), s.ask(&list, who, "device", "list"))
	return list.Devices, err
}

// devicesAre says whether the account has these devices and no others.
func devicesAre(s *site, who string, want ...string) error {
	list, err := listDevices(s, who)
	if err != nil {
		return err
	}
	var have []string
	for _, d := range list {
		have = append(have, d.Status)
	}
	if !slices.Equal(have, want) {
		return fmt.Errorf("the devices are %+v, not %q", list, want)
	}
	return nil
}

func named(s *site, who string, number uint64, want string) error {
	list, err := listDevices(s, who)
	if err == nil && !slices.ContainsFunc(list, func(d listed) bool { return d.Number == number && d.Name == want }) {
		err = fmt.Errorf("no device %d is called %s: %+v", number, want, list)
	}
	return err
}

// closedTo says whether the server answers a device nothing.
func closedTo(s *site, who string) error {
	_, err := s.want(5, who, "sync")
	return err
}

// keeps says whether a device keeps an item and nothing waits to be sent.
func keeps(s *site, who string, i item) (bool, error) {
	waiting, err := os.ReadDir(s.path("device", who, "pending"))
	if err != nil || len(waiting) > 0 {
		return false, err
	}
	var list []struct{ Title string }
	err = s.ask(&list, who, "list", i.title)
	return len(list) > 0, err
}

// alarmCame says whether an alarm has come, or is kept to be sent again.
func alarmCame(s *site) error {
	for range 50 {
		if s.hook.heard.Load() > s.heard {
			return nil
		}
		time.Sleep(betweenTwo)
	}
	var show struct{ Undelivered int }
	err := s.ask(&show, "owner", "alarms", "show")
	if err == nil && show.Undelivered == 0 {
		err = errors.New("an alarm has not come, and none waits")
	}
	return err
}

// nextEpoch makes an epoch, and commits it.
func nextEpoch(s *site, epoch uint64) error {
	if _, err := s.confirmed(command{who: "owner", args: []string{"rotate"}}, "phone"); err != nil {
		return err
	}
	return committed(s, epoch, 0)
}

// committed goes on from a rotation until the epoch is committed, and says whether
// it protects everything: what the first items are, and one that is added before
// the commit.
func committed(s *site, epoch uint64, last int) error {
	if err := s.do(syncs("owner")); err != nil {
		return err
	}
	if _, err := s.want(0, "owner", "status"); err != nil {
		return err // the old epoch protects
	}
	if last == 0 {
		if err := addTo(s, "phone", 1); err != nil {
			return err
		}
	}
	if err := s.do(syncs("ann"), syncs("owner"), syncs("ann"), syncs("owner"), syncs("phone")); err != nil {
		return err
	}
	var status struct {
		Epoch     uint64
		Committed bool
	}
	if err := s.ask(&status, "owner", "status"); err != nil {
		return err
	}
	if status.Epoch != epoch || !status.Committed {
		return fmt.Errorf("the owner is at %+v, not at epoch %d", status, epoch)
	}
	return errors.Join(healthy(s, "owner", 0, everything[:2], "phone"), healthy(s, "phone", 0, everything[:2], "owner"),
		holds(s, "ann", epoch), knowsContact(s, "phone", "Ann"))
}

// knowsContact says whether a device knows a contact by the name that the owner gave.
func knowsContact(s *site, who, name string) error {
	var list struct{ Contacts []struct{ Name string } }
	err := s.ask(&list, who, "contact", "list")
	if err == nil && !slices.ContainsFunc(list.Contacts, func(c struct{ Name string }) bool { return c.Name == name }) {
		err = fmt.Errorf("%s knows no %s: %+v", who, name, list.Contacts)
	}
	return err
}

// recovers says whether a quorum still brings everything back, whichever epoch is
// in use.
func recovers(want []item) func(*site) error {
	return func(s *site) error {
		var started struct{ Phrase string }
		err := s.ask(&started, "new", "recover", "start", "--server", "@server", "--name", "Ada", "--unlock-cost", "1")
		if err != nil {
			return err
		}
		if err := s.do(command{who: "ann", args: []string{"request", "list"}}); err != nil {
			return err
		}
		time.Sleep(waiting + 100*time.Millisecond)
		err = s.do(command{who: "ann", args: []string{"request", "approve", "--phrase", started.Phrase}},
			command{who: "new", args: []string{"recover", "status"}},
			command{who: "new", args: []string{"recover", "finish", "--output", handedOver}})
		if err != nil {
			return err
		}
		return handsOver(s, want)
	}
}

func addTo(s *site, who string, n int) error {
	return s.do(command{who: who, args: []string{"add", "--title", everything[n].title, "--secret-file", fmt.Sprintf("secret%d", n)}})
}

// printSheet keeps the words of the sheet.
func printSheet(s *site) error {
	r, err := s.confirmed(command{who: "phone", args: []string{"sheet", "print", "--json"}}, "owner")
	if err != nil {
		return err
	}
	var sheet struct{ Words string }
	if err := json.Unmarshal([]byte(r.stdout), &sheet); err != nil {
		return err
	}
	if len(strings.Fields(sheet.Words)) != 92 {
		return r.failed("these are not the words of a sheet")
	}
	return os.WriteFile(s.path("sheet.words"), []byte(sheet.Words+"\n"), 0o600)
}

// printed goes on from rotate --printed until the epoch is committed. Until then
// the old one protects everything.
func printed(s *site, epoch uint64) error {
	if err := healthy(s, "owner", 0, everything[:2], "phone"); err != nil {
		return err
	}
	if err := printSheet(s); err != nil {
		// It was proved before: then the paper alone has it.
		if _, again := s.want(0, "phone", "sheet", "confirm", "--words-file", "sheet.words"); again != nil {
			return errors.Join(err, again)
		}
	} else if err := s.do(command{who: "phone", args: []string{"sheet", "confirm", "--words-file", "sheet.words"}}); err != nil {
		return err
	}
	time.Sleep(waiting)
	return errors.Join(s.do(syncs("ann"), syncs("phone")), committed(s, epoch, 1))
}

// unlocks says whether the agent works, and after a crash of it everything else.
func unlocks(s *site) error {
	list := command{who: "owner", args: []string{"list"}, unlocked: true}
	if err := s.do(list); err != nil {
		return err
	}
	var agent struct{ Process int }
	if err := s.ask(&agent, "owner", "agent", "status"); err != nil {
		return err
	}
	if err := syscall.Kill(agent.Process, syscall.SIGKILL); err != nil {
		return err
	}
	r, err := s.run(nil, list)
	if err == nil && r.code != 2 {
		err = r.failed("the agent is dead, and it ends with %d", r.code)
	}
	return errors.Join(err, s.do(syncs("owner"), command{who: "owner", args: []string{"unlock"}}), s.do(list),
		s.do(command{who: "owner", args: []string{"lock"}}))
}
