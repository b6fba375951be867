from pcscf.cli.main import main

main()
