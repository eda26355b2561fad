package demo

// verdict ends the story with its table.
func (s *story) verdict() {
	s.title("Verdict")
	width := 0
	for _, c := range s.report.Checks {
		width = max(width, len(c.Name))
	}
	for _, c := range s.report.Checks {
		mark := "✓"
		if !c.Passed {
			mark = "DIFFERS, wanted " + c.Want
		}
		s.print("   %-*s  %-22s %s\n", width, c.Name, c.Got, mark)
	}
	if s.report.Passed {
		s.print("\nEverything came back, every time; nobody alone opened anything. %.0f seconds.\n", s.report.Seconds)
	} else {
		s.print("\nSomething is not as it must be. Please report it with this table.\n")
	}
	if s.report.Dir != "" {
		s.print("\nLook around in %s: each home-… is a device's directory, and its passphrase is\n", s.report.Dir)
		s.print("%q (Ben, Cleo, Dan). What the last act but one did, by hand:\n\n", passphrase("Ada"))
		s.print("   go run ./cmd/zeropass-recover --home %s --words %s --words %s --output FILE\n",
			s.owner.dir, s.wordsFile("Ben"), s.wordsFile("Dan"))
	}
	s.print("\nNext: README.md has a tour with your own server and devices; docs/specification.md says what every\n")
	s.print("byte is; docs/threat-model.md who can do what. Run it again with --import FILE for your own Bitwarden\n")
	s.print("export, or with --dir DIR to keep the directories.\n")
}
