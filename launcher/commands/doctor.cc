// octet doctor: what this machine has for running models, what it lacks, and how to get it.
#include "launcher/checkup/checkup.h"
#include "launcher/commands/commands.h"
#include "launcher/output.h"

namespace octet {
namespace {

class DoctorCommand final : public Command {
 public:
  const char* name() const override { return "doctor"; }
  const char* summary() const override { return "What this machine has for running models, and what it lacks"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet doctor\n"
           "  octet doctor --no-measure --json\n"
           "Each line is ok, a hint (it works, and could be better) or missing, with what to do about it. The exit "
           "code\n"
           "is 0 whatever is found.";
  }

  void declare(CLI::App& app) override {
    app.add_flag("--no-measure", no_measure_, "leave out the speed of memory and arithmetic (a few seconds)");
    app.add_flag("--json", json_, "print one JSON object");
  }

  Status run() override {
    const KernelFiles files;
    Findings findings;
    for (const Findings& part :
         {check_processor(files), check_memory(files), check_ranks(), check_devices(files, probe_devices())}) {
      for (const Finding& finding : part) findings.push_back(finding);
    }
    if (!no_measure_) findings.push_back(measure_ceilings());
    return json_ ? print_line(dump_json(as_json(findings))) : print(as_text(findings));
  }

 private:
  static std::string as_text(const Findings& findings) {
    std::string text;
    for (const Finding& finding : findings) {
      text += fmt::format("{:<8} {:<17} {}\n", grade_name(finding.grade), finding.topic, finding.text);
      if (!finding.remedy.empty()) text += fmt::format("{:<26} {}\n", "", finding.remedy);
    }
    return text;
  }

  static nlohmann::ordered_json as_json(const Findings& findings) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const Finding& finding : findings) {
      nlohmann::ordered_json entry{
          {"topic", finding.topic}, {"grade", grade_name(finding.grade)}, {"text", finding.text}};
      if (!finding.remedy.empty()) entry["remedy"] = finding.remedy;
      entry["facts"] = finding.facts;
      all.push_back(std::move(entry));
    }
    return {{"findings", std::move(all)}};
  }

  bool no_measure_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_doctor_command() { return std::make_unique<DoctorCommand>(); }

}  // namespace octet
