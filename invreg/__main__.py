from invreg.cli import main

raise SystemExit(main())
